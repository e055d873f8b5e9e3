import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfiguration, type ServerConfiguration } from '../../src/configuration.js';
import { startServer, type RunningServer } from '../../src/server.js';
import { makeCertificate } from '../support/certificates.js';
import { freePort } from '../support/free-port.js';
import { webRequest } from '../support/web-request.js';
import { portOf } from './server-process.js';

interface SampleConfiguration {
  readonly properties: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  readonly note: string;
  readonly noMetricsPort?: boolean;
}

const goldens = new URL('../parity/goldens/', import.meta.url);
const samples = JSON.parse(readFileSync(new URL('configs.json', goldens), 'utf8')) as Record<
  string,
  SampleConfiguration
>;
const store = fileURLToPath(new URL('../fixtures/torchserve-store/', import.meta.url));

/** TorchServe does not start with these either: a port that two listeners want. */
const REFUSED_BY_BOTH = ['single_three', 'twoports'];
const usesTls = ({ properties }: SampleConfiguration) =>
  properties['inference_address']?.startsWith('https:') === true;

let folder: string;
let server: RunningServer | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-samples-'));
  mkdirSync(join(folder, 'lab'));
  symlinkSync(store, join(folder, 'store'));
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(folder, { recursive: true });
});

/** The configuration with free ports; those that are equal stay so. */
async function load({
  properties,
  args = [],
  env = {},
  files = {},
}: SampleConfiguration): Promise<ServerConfiguration> {
  const ports = new Map<string, number>();
  const values: Record<string, string> = {
    MODEL_STORE: join(folder, 'store'),
    LAB: join(folder, 'lab'),
    RUN: folder,
  };
  for (const text of Object.values(properties)) {
    for (const [, name = ''] of text.matchAll(/\$\{(\w+_PORT)\}/g))
      if (!ports.has(name)) ports.set(name, await freePort());
  }
  const fill = (text: string) =>
    text.replaceAll(/\$\{(\w+)\}/g, (all, name: string) => String(ports.get(name) ?? values[name] ?? all));
  const lines = Object.entries(properties).map(([key, value]) => `${key}=${fill(value)}`);
  writeFileSync(join(folder, 'config.properties'), lines.join('\n'));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  const flag = (name: string) => (args.includes(name) ? 'true' : undefined);
  return loadConfiguration({
    directory: folder,
    environment: env,
    commandLine: {
      model_store: 'store',
      cache_dir: join(folder, 'cache'),
      grpc_inference_port: '0',
      grpc_management_port: '0',
      enable_model_api: flag('--enable-model-api'),
      disable_token_authorization: flag('--disable-token-auth'),
    },
  });
}

async function ask(plane: 'inference' | 'management', path: string, init: RequestInit = {}) {
  const file = join(folder, 'key_file.json');
  const key = (): string =>
    (JSON.parse(readFileSync(file, 'utf8')) as Record<string, { key: string }>)[plane]?.key ?? '';
  const url = `http://127.0.0.1:${portOf(server!, plane)}${path}`;
  const open = await fetch(url, init);
  if (open.status !== 400 || !(await open.clone().text()).includes('InvalidKeyException')) return open;
  return fetch(url, { ...init, headers: { authorization: `Bearer ${key()}` } });
}

/** What the recorded environment and command line leave of a key. */
function inForce({ properties, args = [], env = {} }: SampleConfiguration, key: string): string | undefined {
  const allowed = properties['enable_envvars_config'] === 'true';
  const flag = {
    enable_model_api: '--enable-model-api',
    disable_token_authorization: '--disable-token-auth',
  }[key];
  const fromEnvironment = allowed ? env[`TS_${key.toUpperCase()}`] : undefined;
  return fromEnvironment ?? (flag !== undefined && args.includes(flag) ? 'true' : properties[key]);
}

describe.each(Object.entries(samples))('the recorded configuration %s', (name, sample) => {
  if (usesTls(sample)) {
    it(`starts a server that speaks TLS on every port: ${sample.note}`, async () => {
      const { certificate, privateKey } = makeCertificate(folder);
      const configuration = await load({
        ...sample,
        properties: {
          ...sample.properties,
          certificate_file: certificate,
          private_key_file: privateKey,
        },
      });
      server = await startServer(configuration, [], false);
      const ca = readFileSync(certificate);
      for (const [plane, path] of [
        ['inference', '/ping'],
        ['management', '/models'],
        ['metrics', '/metrics'],
      ] as const)
        expect(await webRequest({ ca, port: portOf(server, plane), path })).toMatchObject({ status: 200 });
    });
    return;
  }

  if (REFUSED_BY_BOTH.includes(name)) {
    it(`does not start: ${sample.note}`, async () => {
      const configuration = await load(sample);
      await expect(startServer(configuration, [], false)).rejects.toThrow('cannot be bound');
    });
    return;
  }

  it(`starts a server that means the same: ${sample.note}`, async () => {
    const configuration = await load(sample);
    expect(configuration.ignoredKeys.filter(({ reason }) => reason === undefined)).toEqual([]);
    server = await startServer(configuration, [], false);

    const asksForTokens = inForce(sample, 'disable_token_authorization') !== 'true';
    const ping = await fetch(`http://127.0.0.1:${portOf(server, 'inference')}/ping`);
    expect(ping.status).toBe(asksForTokens ? 400 : 200);
    expect(ping.headers.get('access-control-allow-origin')).toBe(
      inForce(sample, 'cors_allowed_origin') ?? null,
    );

    const loaded = (inForce(sample, 'load_models') ?? '').split(',').filter((entry) => entry !== '');
    const { models } = (await (await ask('management', '/models')).json()) as {
      models: { modelName: string }[];
    };
    expect(models.map(({ modelName }) => modelName)).toEqual(
      loaded.map((entry) => entry.split('=')[0]!.replace('.mar', '')).toSorted(),
    );

    const registered = await ask('management', '/models?url=nosuch.mar', { method: 'POST' });
    expect(registered.status).toBe(inForce(sample, 'enable_model_api') === 'true' ? 404 : 405);
    expect(server.addresses.metrics === undefined).toBe(sample.noMetricsPort === true);
  });
});
