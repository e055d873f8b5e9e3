import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfiguration } from '../../src/configuration.js';
import { startServer, type RunningServer } from '../../src/server.js';
import { packFixture } from '../support/serve-app.js';
import { portOf } from './server-process.js';

let folder: string;
let server: RunningServer | undefined;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'marline-snapshots-'));
  const store = join(folder, 'store');
  mkdirSync(store);
  await packFixture(store, 'mlp');
  await packFixture(store, { fixture: 'mlp', name: 'mlp', version: '2.0', file: 'second' });
  await packFixture(store, { fixture: 'mlp', name: 'other' });
});
afterEach(async () => {
  await stop();
  rmSync(folder, { recursive: true });
});

const UNWEIGHED =
  '{"models":{"a":{"1.0":{"marName":"a.mar","minWorkers":1,"maxWorkers":1,"trafficWeight":"9"}}}}';

const CONFIG = [
  'inference_address=http://127.0.0.1:0',
  'management_address=http://127.0.0.1:0',
  'metrics_address=http://127.0.0.1:0',
  'grpc_inference_port=0',
  'grpc_management_port=0',
  'disable_token_authorization=true',
  'enable_model_api=true',
  'default_workers_per_model=1',
  'load_models=mlp.mar',
];

async function start(snapshots = true, environment: Record<string, string> = {}): Promise<void> {
  const configuration = loadConfiguration({
    directory: folder,
    environment,
    snapshots,
    commandLine: { model_store: 'store', cache_dir: join(folder, 'cache') },
  });
  server = await startServer(configuration, [], false);
}

async function stop(): Promise<void> {
  await server?.close();
  server = undefined;
}

async function manage(method: string, path: string, body?: string): Promise<unknown> {
  const url = `http://127.0.0.1:${portOf(server!, 'management')}${path}`;
  const response = await fetch(url, { method, body });
  expect([path, response.status]).toEqual([path, 200]);
  return response.json();
}

const files = () => readdirSync(join(folder, 'logs/config')).toSorted();
const described = async (model: string) =>
  ((await manage('GET', `/models/${model}/all`)) as Record<string, unknown>[]).map(
    ({ modelVersion, modelUrl, minWorkers, maxWorkers, batchSize, maxBatchDelay, responseTimeout }) => ({
      modelVersion,
      modelUrl,
      minWorkers,
      maxWorkers,
      batchSize,
      maxBatchDelay,
      responseTimeout,
    }),
  );

describe('snapshots', () => {
  it('bring back what was served: versions, numbers and the default', async () => {
    writeFileSync(join(folder, 'config.properties'), CONFIG.join('\n'));
    await start();
    await manage('POST', '/models?url=second/mlp.mar&batch_size=4&max_batch_delay=7&response_timeout=33');
    await manage('PUT', '/models/mlp/2.0?min_worker=1&max_worker=2&synchronous=true');
    await manage('PUT', '/models/mlp/2.0/set-default');
    await manage('POST', '/models?url=other.mar');
    const before = await described('mlp');
    await stop();
    expect(files().map((name) => name.replace(/^\d{17}/, ''))).toEqual([
      '-startup.cfg',
      '-snapshot.cfg',
      '-snapshot.cfg',
      '-snapshot.cfg',
      '-snapshot.cfg',
      '-shutdown.cfg',
    ]);
    for (const name of files()) expect(statSync(join(folder, 'logs/config', name)).mode & 0o777).toBe(0o600);

    await start();
    expect(await described('mlp')).toEqual(before);
    expect(before).toMatchObject([
      { modelVersion: '1.0', modelUrl: 'mlp.mar', minWorkers: 1, maxBatchDelay: 100 },
      {
        modelVersion: '2.0',
        modelUrl: 'second/mlp.mar',
        maxWorkers: 2,
        batchSize: 4,
        maxBatchDelay: 7,
        responseTimeout: 33,
      },
    ]);
    expect(await manage('GET', '/models')).toMatchObject({
      models: [{ modelName: 'mlp', modelUrl: 'second/mlp.mar' }, { modelName: 'other' }],
    });
  });

  it('bring back a split, and what is left of one whose version is gone', async () => {
    writeFileSync(join(folder, 'config.properties'), CONFIG.join('\n'));
    await start();
    await manage('POST', '/models?url=second/mlp.mar&initial_workers=1');
    await manage('PUT', '/models/mlp/traffic', '{"1.0": 90, "2.0": 10}');
    await stop();
    await start();
    expect(await manage('GET', '/models/mlp/traffic')).toEqual({ '1.0': 90, '2.0': 10 });
    await stop();
    rmSync(join(folder, 'store/second'), { recursive: true });
    await start();
    expect(await manage('GET', '/models/mlp/traffic')).toEqual({ '1.0': 90 });
    await manage('DELETE', '/models/mlp/traffic');
    await stop();
    await start();
    expect(await manage('GET', '/models/mlp/traffic')).toEqual({});
  });

  it('lose a model whose archive is gone, and no other; health tells', async () => {
    writeFileSync(join(folder, 'config.properties'), CONFIG.join('\n'));
    await start();
    await manage('POST', '/models?url=other.mar&initial_workers=1');
    await stop();
    rmSync(join(folder, 'store/mlp.mar'));
    await start();
    expect(await manage('GET', '/models')).toMatchObject({ models: [{ modelName: 'other' }] });
    const ready = await fetch(`http://127.0.0.1:${portOf(server!, 'inference')}/health/ready`);
    expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining('mlp') as string]);
  });

  it('of TorchServe are read', async () => {
    const recorded = readFileSync(new URL('../fixtures/torchserve-snapshot.cfg', import.meta.url), 'utf8');
    mkdirSync(join(folder, 'logs/config'), { recursive: true });
    copyFileSync(join(folder, 'store/mlp.mar'), join(folder, 'store/echo.mar'));
    copyFileSync(join(folder, 'store/second/mlp.mar'), join(folder, 'store/echo_v2.mar'));
    writeFileSync(join(folder, 'logs/config/20261122163309049-shutdown.cfg'), recorded);
    writeFileSync(join(folder, 'logs/config/notes.txt'), 'foreign');
    await start();
    expect(await described('echo')).toMatchObject([
      { modelVersion: '1.0', modelUrl: 'echo.mar', minWorkers: 1, maxWorkers: 1 },
      { modelVersion: '2.0', modelUrl: 'echo_v2.mar', minWorkers: 1, maxWorkers: 1 },
    ]);
    expect(await manage('GET', '/models')).toMatchObject({
      models: [{ modelName: 'echo', modelUrl: 'echo_v2.mar' }],
    });
  });

  it('keep variables as they are written, so that no secret is copied', async () => {
    writeFileSync(
      join(folder, 'config.properties'),
      [...CONFIG, 'cors_allowed_origin=$$SECRET$$'].join('\n'),
    );
    await start(true, { SECRET: 'hush' });
    await stop();
    const text = readFileSync(join(folder, 'logs/config', files().at(-1)!), 'utf8');
    expect(text).not.toContain('hush');
    expect(() =>
      loadConfiguration({ directory: folder, environment: {}, snapshots: true, commandLine: {} }),
    ).toThrow('Invalid Environment Variable SECRET');
  });

  it('are neither written nor read where that is off', async () => {
    writeFileSync(join(folder, 'config.properties'), CONFIG.join('\n'));
    await start();
    await manage('POST', '/models?url=other.mar');
    await stop();
    const before = files();
    await start(false);
    expect(await manage('GET', '/models')).toMatchObject({ models: [{ modelName: 'mlp' }] });
    expect(files()).toEqual(before);
  });

  it.each([
    '{broken',
    '{}',
    '{"models":{"a":{"1.0":{"marName":"a.mar"}}}}',
    '{"models":{"a":null}}',
    UNWEIGHED,
  ])('that are none stop the start: %s', (broken) => {
    writeFileSync(join(folder, 'config.properties'), `model_store=store\nmodel_snapshot=${broken}`);
    expect(() => loadConfiguration({ directory: folder, environment: {}, commandLine: {} })).toThrow(
      'model_snapshot is no snapshot of models',
    );
  });

  it('do not grow without end', async () => {
    writeFileSync(join(folder, 'config.properties'), CONFIG.join('\n'));
    await start();
    for (let n = 0; n < 60; n++) await manage('PUT', '/models/mlp/1.0/set-default');
    expect(files()).toHaveLength(50);
    expect(files().filter((name) => !/^\d{17}-snapshot\.cfg$/.test(name))).toEqual([]);
  });
});
