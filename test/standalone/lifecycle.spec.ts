import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { detectDevices } from '#libs/inference';
import { loadConfiguration } from '../../src/configuration.js';
import { run } from '../../src/program.js';
import { startServer } from '../../src/server.js';
import { RecordedTerminal } from '../cli/terminal.js';
import { FREE_PORTS, MarlineProcess, readiness } from './server-process.js';

const model = fileURLToPath(new URL('../fixtures/models/mnist_cnn.onnx', import.meta.url));
// Says in a file that it has begun, and goes on when another file appears.
const WAITING_HANDLER = `
import { existsSync, writeFileSync } from 'node:fs';
import { BaseHandler } from 'marline/handler';
export default class WaitingHandler extends BaseHandler {
  async preprocess({ begun, goOn }) {
    writeFileSync(begun, '');
    while (!existsSync(goOn)) await new Promise((resolve) => setTimeout(resolve, 10));
    return { input: { dtype: 'float32', shape: [1, 1, 28, 28], data: new Float32Array(784) } };
  }
  postprocess() {
    return 'answered';
  }
}`;

let folder: string;
let server: MarlineProcess | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'marline-lifecycle-'));
  const handler = join(folder, 'waiting.mjs');
  writeFileSync(handler, WAITING_HANDLER);
  const args = [
    '--model-name',
    'waiting',
    '--version',
    '1.0',
    '--serialized-file',
    model,
    '--handler',
    handler,
  ];
  expect(await run(['archive', ...args, '--export-path', folder], new RecordedTerminal())).toBe(0);
});

afterEach(async () => {
  server?.signal('SIGKILL');
  await server?.exited();
  rmSync(folder, { recursive: true });
});

async function start(env: Record<string, string> = {}): Promise<MarlineProcess> {
  server = new MarlineProcess(['serve', '--model-store', '.', '--models', 'waiting.mar'], {
    cwd: folder,
    env: { ...FREE_PORTS, MARLINE_DEFAULT_WORKERS_PER_MODEL: '1', ...env },
  });
  await server.started();
  await readiness(server.address('Inference'), ['waiting']);
  return server;
}

/** Sends a request that is answered once `goOn` is called; resolves when its handler has begun. */
async function begin(running: MarlineProcess): Promise<{ answer: Promise<Response>; goOn: () => void }> {
  const [begun, goOn] = [join(folder, 'begun'), join(folder, 'go-on')];
  const answer = fetch(`${running.address('Inference')}/predictions/waiting`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ begun, goOn }),
  });
  answer.catch(() => undefined);
  while (!existsSync(begun)) await Promise.race([delay(10), answer]);
  return { answer, goOn: () => writeFileSync(goOn, '') };
}

async function occupyPort(): Promise<{ other: Server; port: number }> {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  return { other, port: (other.address() as AddressInfo).port };
}

describe('the life of the standalone server', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    'answers what it accepted after %s, then exits 0',
    async (signal) => {
      const running = await start();
      const { answer, goOn } = await begin(running);
      running.signal(signal);
      await running.printed(`${signal}: answering what was accepted`);
      const late = await fetch(`${running.address('Inference')}/predictions/waiting`, { method: 'POST' });
      expect(late.status).toBe(503);
      goOn();
      expect(await (await answer).text()).toBe('answered');
      expect(await running.exited()).toBe(0);
      expect(running.output).toContain('Model server stopped.');
    },
  );

  it('is not ready while it answers the last requests, but alive', async () => {
    const running = await start();
    const { goOn } = await begin(running);
    running.signal('SIGTERM');
    await running.printed('SIGTERM: answering what was accepted');
    const health = async (kind: string) =>
      (await fetch(`${running.address('Inference')}/health/${kind}`)).status;
    expect([await health('live'), await health('ready')]).toEqual([200, 503]);
    goOn();
    expect(await running.exited()).toBe(0);
  });

  it('answers 503 to a request that does not end within the drain time, ends its worker and exits 0', async () => {
    const running = await start({ MARLINE_DRAIN_TIMEOUT_MS: '0' });
    const { answer } = await begin(running);
    running.signal('SIGTERM');
    expect((await answer).status).toBe(503);
    expect(await running.exited()).toBe(0);
  });

  it('is killed by a second signal', async () => {
    const running = await start();
    await begin(running);
    running.signal('SIGTERM');
    await running.printed('SIGTERM: answering what was accepted');
    const again = setInterval(() => running.signal('SIGTERM'), 100);
    expect(await running.exited()).toBe('SIGKILL');
    clearInterval(again);
    expect(running.output).toContain('SIGTERM came again.');
  });

  it('serves the others when an archive at start is corrupt, and says which', async () => {
    writeFileSync(join(folder, 'broken.mar'), 'this is no archive');
    writeFileSync(join(folder, 'config.properties'), 'load_models=broken.mar,gone.mar,waiting.mar');
    server = new MarlineProcess(['serve', '--model-store', '.'], { cwd: folder, env: FREE_PORTS });
    await server.started();
    await readiness(server.address('Inference'), ['waiting']);
    expect(server.output).toMatch(/broken/);
    expect(server.output).toContain('Model gone.mar was not loaded: Model not found at: gone.mar');
  });

  it('exits 1 when a port is in use', async () => {
    const { other, port } = await occupyPort();
    const env = { ...FREE_PORTS, MARLINE_INFERENCE_ADDRESS: `http://127.0.0.1:${port}` };
    server = new MarlineProcess(['serve', '--model-store', '.'], { cwd: folder, env });
    expect(await server.exited()).toBe(1);
    expect(server.output).toContain(
      `error: inference_address=http://127.0.0.1:${port} cannot be bound: the port is in use.`,
    );
    other.close();
  });

  it.each(['inference', 'management', 'metrics'])(
    'names the setting when the port of %s is in use',
    async (api) => {
      const { other, port } = await occupyPort();
      const environment = {
        ...FREE_PORTS,
        [`MARLINE_${api.toUpperCase()}_ADDRESS`]: `http://127.0.0.1:${port}`,
      };
      const configuration = loadConfiguration({
        commandLine: { model_store: '.' },
        environment,
        directory: folder,
      });
      const started = startServer(configuration, await detectDevices(), false);
      await expect(started).rejects.toThrow(`${api}_address=http://127.0.0.1:${port} cannot be bound`);
      other.close();
    },
  );

  it('serves both APIs on one port when their addresses are equal', async () => {
    const { other, port } = await occupyPort();
    other.close();
    await once(other, 'close');
    const both = `http://127.0.0.1:${port}`;
    const running = await start({ MARLINE_INFERENCE_ADDRESS: both, MARLINE_MANAGEMENT_ADDRESS: both });
    expect(running.address('Management')).toBe(both);
    expect((await fetch(`${both}/ping`)).status).toBe(200);
    expect(await (await fetch(`${both}/models`)).json()).toMatchObject({
      models: [{ modelName: 'waiting' }],
    });
  });

  it('opens no metrics port when metrics are off, and warns of a management API that others reach', async () => {
    const running = await start({
      MARLINE_ENABLE_METRICS_API: 'false',
      MARLINE_MANAGEMENT_ADDRESS: 'http://0.0.0.0:0',
    });
    expect(() => running.address('Metrics')).toThrow('No Metrics listener');
    expect(running.output).toContain('other machines can reach the management API');
  });
});
