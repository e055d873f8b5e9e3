import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { managementCall, openGrpc, type OpenGrpc } from '../grpc/open-grpc.js';

const COUNT = 250;
/** Names in the order in which they must be listed. */
const NAMES = Array.from({ length: COUNT }, (_, index) => `model-${String(index).padStart(4, '0')}`);

interface Page {
  readonly nextPageToken?: string;
  readonly models: readonly { readonly modelName: string; readonly modelUrl: string }[];
}

let served: OpenGrpc;
beforeAll(async () => {
  served = await openGrpc({ models: [], options: { defaultWorkersPerModel: 0 } });
  const url = await served.models.pack('mlp');
  // Another order than that of the list.
  for (const modelName of NAMES.toReversed()) {
    const runtime = await served.registry.register({ url, modelName, synchronous: true });
    expect(runtime.status().status).toBe('stopped');
  }
});
afterAll(() => served.close());

const overHttp = async (limit: number, token: string): Promise<Page> => {
  const query = `limit=${limit}&next_page_token=${token}`;
  return (await (await fetch(`${served.url}/models?${query}`)).json()) as Page;
};

const overGrpc = async (limit: number, token: string): Promise<Page> => {
  const message = { limit, next_page_token: Number(token) };
  const { messages } = await served.client.call(managementCall('ListModels', message));
  return JSON.parse(String(messages[0]?.['msg'])) as Page;
};

async function walk(ask: (limit: number, token: string) => Promise<Page>, limit: number): Promise<Page[]> {
  const pages: Page[] = [];
  for (let token: string | undefined = '0'; token !== undefined; token = pages.at(-1)?.nextPageToken)
    pages.push(await ask(limit, token));
  return pages;
}

const namesOf = (pages: readonly Page[]) =>
  pages.flatMap(({ models }) => models.map(({ modelName }) => modelName));

describe('the pages of many models', () => {
  it.each([
    ['HTTP', overHttp],
    ['gRPC', overGrpc],
  ])('have each name once, in order, over %s', async (_, ask) => {
    for (const limit of [1, 7, 99, 100]) {
      const pages = await walk(ask, limit);
      expect(namesOf(pages)).toEqual(NAMES);
      for (const { models } of pages.slice(0, -1)) expect(models.length).toBe(limit);
    }
  });

  it("have TorchServe's token: also in front of a last page that is empty", async () => {
    const pages = await walk(overHttp, 50);
    expect(pages.map(({ nextPageToken }) => nextPageToken)).toEqual([
      '50',
      '100',
      '150',
      '200',
      '250',
      undefined,
    ]);
    expect(pages.at(-1)?.models).toEqual([]);
  });

  it.each(['-1', '101', '1000', 'x', ''])('have 100 models for the limit "%s"', async (limit) => {
    const page = await overHttp(limit as unknown as number, '0');
    expect(namesOf([page])).toEqual(NAMES.slice(0, 100));
  });

  it('go on where they were, whatever comes and goes meanwhile', async () => {
    const first = await overHttp(100, '0');
    await served.registry.unregister('model-0249');
    const second = await overHttp(100, first.nextPageToken ?? '');
    const third = await overHttp(100, second.nextPageToken ?? '');
    expect(namesOf([first, second, third])).toEqual(NAMES.slice(0, -1));
    expect(third.nextPageToken).toBeUndefined();
  });

  it('describe the first, the last and one in between', async () => {
    for (const name of ['model-0000', 'model-0123', 'model-0248']) {
      const [described] = (await (await fetch(`${served.url}/models/${name}`)).json()) as object[];
      expect(described).toMatchObject({ modelName: name, minWorkers: 0, workers: [] });
    }
  });
});
