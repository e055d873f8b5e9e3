import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { predict } from '../support/open-registry.js';
import { parseResponse } from '../support/http-exchange.js';
import { serveApp, type FixtureArchive, type ServedApp } from '../support/serve-app.js';

let served: ServedApp;
afterEach(() => served.close());

const PARTS = 20;
const versionOf = (version: string, overrides: Partial<FixtureArchive> = {}): FixtureArchive => ({
  fixture: 'stream',
  name: 'm',
  version,
  file: `v${version}`,
  ...overrides,
});

async function serve(): Promise<void> {
  served = await serveApp({ models: [versionOf('1.0')], management: true });
}

async function replaceBy(version: string, query = ''): Promise<{ status: number; text: string }> {
  const url = await served.models.pack(versionOf(version));
  return post(`/models?url=${url}&replace=true${query}`);
}

async function post(path: string, body?: string): Promise<{ status: number; text: string }> {
  const response = await fetch(served.url + path, { method: 'POST', body });
  return { status: response.status, text: await response.text() };
}

const versions = () => served.registry.versions('m').map(({ version }) => version);

describe('a version that takes the place of another', () => {
  it('fails no request, over HTTP, in process or in a stream, through one swap after another', async () => {
    await serve();
    let sending = true;
    const seen = new Set<string>();
    const wrong: unknown[] = [];
    const keep = async (ask: () => Promise<string>, parts: number) => {
      while (sending) {
        const words = (await ask()).trim().split(' ');
        const [version = ''] = words;
        seen.add(version);
        // One request is answered by one version, whole.
        const whole = [...Array<string>(parts).fill(version), 'end'];
        if (words.join() !== whole.join()) wrong.push(words);
      }
    };
    const http = async (parts: number) => {
      const { status, text } = await post('/predictions/m', String(parts));
      return status === 200 ? text : `${status} ${text}`;
    };
    const clients = [
      ...Array.from({ length: 4 }, () => keep(() => http(1), 1)),
      ...Array.from({ length: 2 }, () => keep(() => http(PARTS), PARTS)),
      ...Array.from({ length: 2 }, () =>
        keep(async () => String(await predict(served.registry, 'm', '1')), 1),
      ),
    ];
    for (const version of ['2.0', '3.0', '4.0', '5.0']) {
      expect(await replaceBy(version)).toMatchObject({ status: 200 });
      expect(versions()).toEqual([version]);
      await setTimeout(50);
    }
    sending = false;
    await Promise.all(clients);
    expect(wrong).toEqual([]);
    expect([...seen].toSorted()).toEqual(['1.0', '2.0', '3.0', '4.0', '5.0']);
  });

  it('answers a request whose body was still on its way', async () => {
    await serve();
    const { hostname, port } = new URL(served.url);
    const socket = connect(Number(port), hostname);
    let received = '';
    const answered = new Promise<void>((resolve) => {
      socket.on('data', (chunk) => {
        received += chunk.toString('latin1');
        if (received.includes('end')) resolve();
      });
    });
    socket.write('POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n');
    await replaceBy('2.0');
    socket.write('01');
    await answered;
    socket.destroy();
    expect(parseResponse(received)).toMatchObject({ status: 200, body: '2.0 end' });
  });

  it('says what it did, and gets as many workers as the other had', async () => {
    await serve();
    await served.registry.scale('m', undefined, 2, 3, { synchronous: true });
    const { text } = await replaceBy('2.0');
    expect(JSON.parse(text)).toEqual({
      status: 'Model "m" Version: 2.0 serves with 2 workers in the place of version 1.0',
    });
    expect(served.registry.get('m').settings).toMatchObject({ minWorkers: 2, maxWorkers: 3 });
    await replaceBy('3.0', '&initial_workers=1');
    expect(served.registry.get('m').settings).toMatchObject({ minWorkers: 1, maxWorkers: 1 });
  });

  it('goes on in the background when nobody waits', async () => {
    await serve();
    const { status, text } = await replaceBy('2.0', '&synchronous=false');
    expect([status, text]).toEqual([202, expect.stringContaining('Processing worker updates...')]);
    while (versions().join() !== '2.0') await setTimeout(5);
    expect((await post('/predictions/m', '1')).text).toBe('2.0 end');
  });

  it('is simply registered when the name is new', async () => {
    await serve();
    const url = await served.models.pack(versionOf('1.0', { name: 'fresh', file: 'f' }));
    const { status, text } = await post(`/models?url=${url}&replace=true&initial_workers=1`);
    expect([status, JSON.parse(text)]).toEqual([
      200,
      { status: 'Model "fresh" Version: 1.0 serves with 1 workers' },
    ]);
  });
});

describe('a version that fails to take the place of another', () => {
  it('is gone, and the other goes on', async () => {
    await serve();
    const url = await served.models.pack(versionOf('2.0', { handler: 'handlers/loading/throws.mjs' }));
    const { status, text } = await post(`/models?url=${url}&replace=true`);
    expect([status, JSON.parse(text)]).toMatchObject([
      500,
      { message: 'Failed to start workers for model m version: 2.0' },
    ]);
    expect(versions()).toEqual(['1.0']);
    expect((await post('/predictions/m', '1')).text).toBe('1.0 end');
  });

  it('may have been unregistered before it was ready', async () => {
    await serve();
    const url = await served.models.pack(versionOf('2.0'));
    const taking = served.registry.replace({ url, synchronous: true });
    while (!versions().includes('2.0')) await setTimeout(1);
    await served.registry.unregister('m', '2.0');
    await expect(taking).rejects.toMatchObject({ code: expect.stringMatching(/NOT_FOUND|NOT_STARTED/) });
    expect(versions()).toEqual(['1.0']);
    expect((await post('/predictions/m', '1')).text).toBe('1.0 end');
  });

  it.each([
    ['has the same version', 'v1.0/m.mar', 409, 'already registered'],
    ['is not there', 'nothing.mar', 404, 'Model not found at: nothing.mar'],
    ['has no url', '', 404, 'empty url'],
  ])('is refused when it %s', async (_, url, status, message) => {
    await serve();
    const answer = await post(`/models?url=${url}&replace=true`);
    expect(answer).toMatchObject({ status, text: expect.stringContaining(message) });
    expect(versions()).toEqual(['1.0']);
  });
});
