import { status, type Metadata } from '@grpc/grpc-js';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ServedModel } from '#libs/inference';
import {
  bodies,
  inferenceCall,
  openGrpc,
  prediction,
  protocolCall,
  type OpenGrpc,
} from '../grpc/open-grpc.js';
import { ended } from '../support/grpc-client.js';
import { type FixtureArchive } from '../support/serve-app.js';

const streamOf = (version: string): FixtureArchive => ({
  fixture: 'stream',
  name: 'm',
  version,
  file: `m${version}`,
});
const tensorsOf = (version: string): FixtureArchive => ({
  fixture: 'mlp',
  name: 'tensors',
  version,
  file: `t${version}`,
});

let served: OpenGrpc;
let model: ServedModel<string, string>;
beforeAll(async () => {
  served = await openGrpc({
    models: [streamOf('1.0'), streamOf('2.0'), tensorsOf('1.0'), tensorsOf('2.0')],
    metrics: true,
  });
  model = new ServedModel('m', served.registry);
});
afterEach(async () => {
  for (const name of ['m', 'tensors']) {
    served.registry.setTraffic(name, undefined);
    served.registry.setDefault(name, '1.0');
  }
});
afterAll(() => served.close());

async function manage(method: string, path: string, weights?: unknown) {
  const body = typeof weights === 'string' ? weights : JSON.stringify(weights);
  const response = await fetch(served.url + path, { method, body });
  return [response.status, await response.json()] as [number, Record<string, unknown>];
}

const split = (weights: unknown, name = 'm') => manage('PUT', `/models/${name}/traffic`, weights);

/** The version in the words of the handler, and the one in the head. */
async function overHttp(path = '/predictions/m'): Promise<[string, string | null]> {
  const response = await fetch(served.url + path, { method: 'POST', body: '1' });
  return [(await response.text()).split(' ')[0] ?? '', response.headers.get('x-model-version')];
}

async function tally(count: number, ask: () => Promise<string | undefined>): Promise<Record<string, number>> {
  const versions: Record<string, number> = {};
  for (let n = 0; n < count; n++) {
    const version = (await ask()) ?? 'none';
    versions[version] = (versions[version] ?? 0) + 1;
  }
  return versions;
}

const JSON_TENSORS = JSON.stringify({
  inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: Array(128).fill(1) }],
});
const GRPC_TENSORS = [
  { name: 'input', datatype: 'FP32', shape: [1, 128], contents: { fp32_contents: Array(128).fill(1) } },
];

describe('a split', () => {
  it('is exact over HTTP, told in the head, and gone with DELETE', async () => {
    expect(await split({ '1.0': 90, '2.0': 10 })).toEqual([
      200,
      { status: 'Requests for model "m" are split: 1.0 90 %, 2.0 10 %' },
    ]);
    const answers: (string | null)[][] = [];
    expect(
      await tally(100, async () => {
        const answer = await overHttp();
        answers.push(answer);
        return answer[0];
      }),
    ).toEqual({ '1.0': 90, '2.0': 10 });
    for (const [said, head] of answers) expect(head).toBe(said);
    expect(await manage('DELETE', '/models/m/traffic')).toEqual([
      200,
      { status: 'Requests for model "m" go to its default version "1.0"' },
    ]);
    expect(await tally(5, async () => (await overHttp()).join())).toEqual({ '1.0,': 5 });
  });

  it('is exact for requests that come at the same time', async () => {
    await split({ '1.0': 3, '2.0': 1 });
    const answers = await Promise.all(Array.from({ length: 60 }, () => overHttp()));
    expect(answers.filter(([version]) => version === '2.0')).toHaveLength(15);
  });

  it('leaves requests that name a version alone', async () => {
    await split({ '1.0': 0, '2.0': 1 });
    expect(await overHttp('/predictions/m/1.0')).toEqual(['1.0', null]);
    expect(await overHttp()).toEqual(['2.0', '2.0']);
    expect(await model.predict('1', { version: '1.0' })).toBe('1.0 end');
  });

  it.each(['/invocations?model_name=m', '/models/m/invoke', '/v1/models/m:predict'])(
    'holds on %s',
    async (path) => {
      await split({ '1.0': 1, '2.0': 1 });
      expect(await tally(10, async () => (await overHttp(path))[0])).toEqual({ '1.0': 5, '2.0': 5 });
    },
  );

  it('holds in process', async () => {
    await split({ '1.0': 1, '2.0': 4 });
    expect(await tally(20, async () => (await model.predict('1')).split(' ')[0])).toEqual({
      '1.0': 4,
      '2.0': 16,
    });
  });

  it('holds for the open inference protocol, whose answers name the version', async () => {
    await split({ '1.0': 1, '2.0': 1 }, 'tensors');
    const http = async () => {
      const path = `${served.url}/v2/models/tensors/infer`;
      const response = await fetch(path, { method: 'POST', body: JSON_TENSORS });
      const { model_version } = (await response.json()) as { model_version: string };
      expect(response.headers.get('x-model-version')).toBe(model_version);
      return model_version;
    };
    expect(await tally(10, http)).toEqual({ '1.0': 5, '2.0': 5 });
    const grpc = async () => {
      const message = { model_name: 'tensors', inputs: GRPC_TENSORS };
      const { messages } = await served.client.call(protocolCall('ModelInfer', message));
      return String(messages[0]?.['model_version']);
    };
    expect(await tally(10, grpc)).toEqual({ '1.0': 5, '2.0': 5 });
  });

  it.each(['Predictions', 'StreamPredictions'])(
    'holds for %s over gRPC, whose metadata tell',
    async (rpc) => {
      await split({ '1.0': 1, '2.0': 1 });
      const ask = async (more = {}) => {
        const call = served.client.open(inferenceCall(rpc));
        const metadata = new Promise<Metadata>((resolve) => call.on('metadata', resolve));
        const messages: Record<string, unknown>[] = [];
        call.on('data', (message: Record<string, unknown>) => messages.push(message));
        call.write(prediction('m', '1', more));
        call.end();
        expect((await ended(call)).code).toBe(status.OK);
        return [bodies({ messages })[0]?.split(' ')[0], (await metadata).get('x-model-version')[0]];
      };
      expect(await tally(10, async () => (await ask()).join())).toEqual({ '1.0,1.0': 5, '2.0,2.0': 5 });
      expect(await ask({ model_version: '1.0' })).toEqual(['1.0', undefined]);
    },
  );

  it('is shown by its route and by descriptions, and by those of other models not', async () => {
    expect(await manage('GET', '/models/m/traffic')).toEqual([200, {}]);
    await split({ '1.0': 90, '2.0': 10 });
    expect(await manage('GET', '/models/m/traffic')).toEqual([200, { '1.0': 90, '2.0': 10 }]);
    const [, described] = await manage('GET', '/models/m/all');
    expect(described).toMatchObject(
      ['1.0', '2.0'].map((modelVersion) => ({
        modelVersion,
        marline: { traffic: { '1.0': 90, '2.0': 10 } },
      })),
    );
    const [, [other]] = (await manage('GET', '/models/tensors')) as unknown as [number, object[]];
    expect(other).not.toHaveProperty('marline');
  });

  it('counts by version in the metrics', async () => {
    const counts = async () => {
      const text = await (await fetch(`${served.url}/metrics`)).text();
      return [...text.matchAll(/^marline_requests_total\{model="tensors",version="(.*?)"\} (\d+)/gm)].map(
        ([, version, count]) => [version, Number(count)] as const,
      );
    };
    const before = new Map(await counts());
    await split({ '1.0': 3, '2.0': 1 }, 'tensors');
    for (let n = 0; n < 8; n++)
      await fetch(`${served.url}/predictions/tensors`, { method: 'POST', body: JSON_TENSORS });
    const grown = (await counts()).map(([version, count]) => [version, count - (before.get(version) ?? 0)]);
    expect(Object.fromEntries(grown)).toEqual({ '1.0': 6, '2.0': 2 });
  });
});

describe('weights', () => {
  it.each([
    ['{broken', 400, 'The body is not valid JSON.'],
    ['', 400, 'The body is not valid JSON.'],
    ['[]', 400, 'Give an object with a weight for each version, such as {"1.0": 90, "2.0": 10}.'],
    ['null', 400, 'Give an object'],
    ['{}', 400, 'end the split with DELETE'],
    ['{"1.0": -1}', 400, 'The weight of version 1.0 is -1: give a number from 0 to 1000000.'],
    ['{"1.0": 1e999}', 400, 'The weight of version 1.0 is'],
    ['{"1.0": NaN}', 400, 'The body is not valid JSON.'],
    ['{"1.0": "90"}', 400, 'The weight of version 1.0 is "90"'],
    ['{"1.0": 0, "2.0": 0}', 400, 'All weights are 0'],
    ['{"1.0": 1, "__proto__": 1}', 404, 'Model version: __proto__ does not exist for model: m'],
    ['{"1.0": 1, "9.0": 1}', 404, 'Model version: 9.0 does not exist for model: m'],
    [JSON.stringify(Object.fromEntries(Array.from({ length: 101 }, (_, n) => [n, 1]))), 400, '101 weights'],
  ])('that are none are refused, and nothing changes: %s', async (body, code, text) => {
    await split({ '1.0': 1, '2.0': 1 });
    const [answered, { message }] = await split(body);
    expect([answered, message]).toEqual([code, expect.stringContaining(text)]);
    expect((await manage('GET', '/models/m/traffic'))[1]).toEqual({ '1.0': 1, '2.0': 1 });
  });

  it('of an unknown model are refused', async () => {
    for (const method of ['GET', 'PUT', 'DELETE'])
      expect(await manage(method, '/models/nosuch/traffic')).toMatchObject([
        404,
        { message: 'Model not found: nosuch' },
      ]);
  });

  it('that are too large to read are refused', async () => {
    const body = '9'.repeat(70_000);
    const { status: code } = await fetch(`${served.url}/models/m/traffic`, { method: 'PUT', body });
    expect(code).toBe(413);
  });

  it('in process are checked as well', () => {
    for (const weight of [NaN, 0, -1])
      expect(() => served.registry.setTraffic('m', { '1.0': weight })).toThrow(
        expect.objectContaining({ code: 'BAD_REQUEST' }),
      );
  });
});

describe('versions of a split', () => {
  const register = async (version: string, query = 'initial_workers=1') => {
    const url = await served.models.pack(streamOf(version));
    return manage('POST', `/models?url=${url}&${query}`);
  };

  it('are not unregistered while they have a weight', async () => {
    await register('3.0');
    await split({ '1.0': 1, '3.0': 1 });
    expect(await manage('DELETE', '/models/m/3.0')).toEqual([
      403,
      {
        code: 403,
        type: 'InvalidModelVersionException',
        message:
          'Version 3.0 of model m takes part in a split of its requests. Give it the weight 0 or leave it out with PUT /models/m/traffic, or end the split with DELETE, first.',
      },
    ]);
    await split({ '1.0': 1, '3.0': 0 });
    expect((await manage('DELETE', '/models/m/3.0'))[0]).toBe(200);
    expect(await manage('GET', '/models/m/traffic')).toEqual([200, { '1.0': 1 }]);
  });

  it('need workers to be given a weight', async () => {
    await register('4.0', 'initial_workers=0');
    await manage('PUT', '/models/m/4.0?min_worker=0&synchronous=true');
    expect(await split({ '1.0': 1, '4.0': 1 })).toMatchObject([
      400,
      {
        message:
          'Version 4.0 of model m has no workers. Give it some first (PUT /models/m/4.0?min_worker=1&synchronous=true), or the weight 0.',
      },
    ]);
    expect((await split({ '1.0': 1, '4.0': 0 }))[0]).toBe(200);
    await manage('DELETE', '/models/m/4.0');
  });

  it('that lost their workers leave their share to the others until they have some again', async () => {
    await split({ '1.0': 1, '2.0': 1 });
    await manage('PUT', '/models/m/2.0?min_worker=0&max_worker=0&synchronous=true');
    expect(await tally(6, async () => (await overHttp())[0])).toEqual({ '1.0': 6 });
    await manage('PUT', '/models/m/2.0?min_worker=1&synchronous=true');
    expect(await tally(6, async () => (await overHttp())[0])).toEqual({ '1.0': 3, '2.0': 3 });
  });

  it('stay what they are when another version becomes the default', async () => {
    await split({ '1.0': 1, '2.0': 1 });
    await manage('PUT', '/models/m/2.0/set-default');
    expect(await tally(6, async () => (await overHttp())[0])).toEqual({ '1.0': 3, '2.0': 3 });
    await manage('DELETE', '/models/m/traffic');
    expect(await overHttp()).toEqual(['2.0', null]);
  });

  it('hand their weight to the version that replaces them, and no request fails', async () => {
    await split({ '1.0': 1, '2.0': 1 });
    let sending = true;
    const seen = new Set<string>();
    const keep = async () => {
      while (sending) seen.add((await overHttp())[0]);
    };
    const clients = Promise.all([keep(), keep(), keep()]);
    expect((await register('5.0', 'replace=true'))[0]).toBe(200);
    sending = false;
    await clients;
    expect([...seen].toSorted().filter((version) => !['1.0', '2.0', '5.0'].includes(version))).toEqual([]);
    expect(await manage('GET', '/models/m/traffic')).toEqual([200, { '2.0': 1, '5.0': 1 }]);
    expect(await tally(6, async () => (await overHttp())[0])).toEqual({ '2.0': 3, '5.0': 3 });
    expect((await register('1.0', 'replace=true'))[0]).toBe(200);
  });

  it('go with their model', async () => {
    const url = await served.models.pack({ ...streamOf('1.0'), name: 'lone', file: 'lone1' });
    await manage('POST', `/models?url=${url}&initial_workers=1`);
    await split({ '1.0': 1 }, 'lone');
    expect((await manage('DELETE', '/models/lone'))[0]).toBe(200);
    await manage('POST', `/models?url=${url}&initial_workers=1`);
    expect(await manage('GET', '/models/lone/traffic')).toEqual([200, {}]);
  });
});

describe('sequences', () => {
  const VERSIONS = ['1.0', '2.0'];
  interface Told {
    readonly start: string | null;
    readonly sequence: string;
    readonly sum: number;
    readonly version: string | null;
  }

  beforeAll(async () => {
    const configFile = join(served.models.cacheDir, '..', 'sequence.yaml');
    const config = [
      'minWorkers: 2',
      'maxWorkers: 2',
      'sequenceBatching: true',
      'sequenceMaxIdleMSec: 60000',
      'maxNumSequence: 100',
    ];
    writeFileSync(configFile, config.join('\n'));
    for (const version of VERSIONS) {
      const handler = '../python/twins/sequence_handler.mjs';
      const archive = { fixture: 'slow', name: 'sums', version, file: `s${version}` } as const;
      const url = await served.models.pack({ ...archive, handler, configFile });
      await served.registry.register({ url, synchronous: true });
    }
  });

  /** Adds 1 to the sum of a sequence, which only one worker of one version knows. */
  async function add(sequence?: string, headers: Record<string, string> = {}): Promise<Told> {
    const response = await fetch(`${served.url}/predictions/sums`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(sequence === undefined ? {} : { ts_request_sequence_id: sequence }),
        ...headers,
      },
      body: '{ "add": 1 }',
    });
    const told = (await response.json()) as Omit<Told, 'version'>;
    return { ...told, version: response.headers.get('x-model-version') };
  }

  it('stay where their first request went, while new ones are split', async () => {
    await split({ '1.0': 1, '2.0': 1 }, 'sums');
    const homes = new Map<string, Set<string | null>>();
    const sums: number[] = [];
    for (let round = 1; round <= 4; round++)
      for (const sequence of ['a', 'b', 'c', 'd', 'e', 'f']) {
        const { sum, version } = await add(sequence);
        sums.push(sum - round);
        homes.set(sequence, (homes.get(sequence) ?? new Set()).add(version));
      }
    expect(new Set(sums)).toEqual(new Set([0]));
    const all = [...homes.values()].map((versions) => [...versions].join());
    expect(all.toSorted()).toEqual(['1.0', '1.0', '1.0', '2.0', '2.0', '2.0']);
  });

  it('that the server named stay as well', async () => {
    await split({ '1.0': 1, '2.0': 1 }, 'sums');
    for (let n = 0; n < 4; n++) {
      const first = await add();
      expect(await add(first.sequence)).toEqual({ ...first, sum: 2, start: null });
    }
  });

  it('begin in one version when their first requests come at the same time', async () => {
    await split({ '1.0': 1, '2.0': 1 }, 'sums');
    const told = await Promise.all([add('rush'), add('rush')]);
    expect(told.map(({ sum }) => sum)).toEqual(expect.arrayContaining([1, 2]));
    expect(new Set(told.map(({ version }) => version)).size).toBe(1);
  });

  it('go on where they are when their version gets the weight 0, until they are over', async () => {
    await split({ '1.0': 0, '2.0': 1 }, 'sums');
    await add('old');
    await split({ '1.0': 1, '2.0': 0 }, 'sums');
    expect(await add('old', { ts_request_sequence_end: 'true' })).toMatchObject({ sum: 2, version: '2.0' });
    expect(await add('old')).toMatchObject({ sum: 1, version: '1.0' });
  });

  it('stay in process and over gRPC', async () => {
    await split({ '1.0': 1, '2.0': 1 }, 'sums');
    const sums = new ServedModel<object, { sum: number }>('sums', served.registry);
    for (const id of ['p', 'q', 'r'])
      for (let sum = 1; sum <= 3; sum++)
        expect(await sums.predict({ add: 1 }, { sequence: { id } })).toMatchObject({ sum });
    const request = (sequence_id: string) => prediction('sums', '{ "add": 1 }', { sequence_id });
    const messages = ['x', 'y', 'z', 'x', 'y', 'z'].map(request);
    const answer = await served.client.call(inferenceCall('StreamPredictions2', ...messages));
    const asked = bodies(answer).map((body) => (JSON.parse(body) as { sequence: string }).sequence);
    expect(asked).toEqual(['x', 'y', 'z', 'x', 'y', 'z']);
    const [first, second] = VERSIONS.map((version) =>
      ['x', 'y', 'z'].filter((id) => served.registry.get('sums', version).knows(id)),
    );
    expect([...first!, ...second!].toSorted()).toEqual(['x', 'y', 'z']);
    expect(Math.abs(first!.length - second!.length)).toBe(1);
  });
});
