import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive, parseIdentity } from '#libs/archive';
import { stopServer } from '../../src/stop-server.js';
import { packFixture } from '../support/serve-app.js';
import { FREE_PORTS, MarlineProcess, readiness } from './server-process.js';

/** Each of these starts several processes, one after another. */
const LIMIT_MS = 180_000;
const START = ['--start', '--ncs', '--model-store', 'store', '--models', 'mlp.mar'];
const WITHOUT_EFFECT =
  '--workflow-store store --log-config log4j2.xml --cpp-log-config cpp.yaml --ppath plugins'.split(' ');

let folder: string;
let log: string;
let pidFile: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'marline-background-'));
  log = join(folder, 'logs/marline.log');
  pidFile = join(folder, 'tmp/.model_server.pid');
  for (const name of ['tmp', 'store']) mkdirSync(join(folder, name));
  await packFixture(join(folder, 'store'), 'mlp');
});
afterEach(async () => {
  await stopServer(pidFile);
  rmSync(folder, { recursive: true });
});

const spawned = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  new MarlineProcess(['serve', ...args], {
    cwd: folder,
    env: { ...FREE_PORTS, MARLINE_DEFAULT_WORKERS_PER_MODEL: '1', TMPDIR: join(folder, 'tmp'), ...env },
  });

async function serve(args: readonly string[], env?: NodeJS.ProcessEnv) {
  const marline = spawned(args, env);
  return {
    code: await marline.exited(),
    output: marline.output,
    address: () => marline.address('Inference'),
  };
}

const pidIn = (file: string) => Number(readFileSync(file, 'utf8').split('\n')[0]);
const identityIn = (file: string) => parseIdentity(readFileSync(file, 'utf8').split('\n')[1] ?? '')!;

describe('marline serve --start', { timeout: LIMIT_MS }, () => {
  it('returns when the server listens, with why some options have no effect; it serves on until --stop', async () => {
    for (const name of ['log4j2.xml', 'cpp.yaml']) writeFileSync(join(folder, name), '');
    const started = await serve([...START, ...WITHOUT_EFFECT]);
    expect(started.code, started.output).toBe(0);
    for (const line of [
      '--workflow-store has no effect: this version does not have it yet.',
      '--log-config has no effect: it is for Log4j; log_format says what lines look like, and LOG_LOCATION where the files are.',
      '--cpp-log-config has no effect: there is no C++ backend here.',
      '--plugins-path has no effect: there is no Java here.',
    ])
      expect(started.output).toContain(line);
    expect(started.output).toContain('Model server started.');
    expect(started.output).toContain('its output goes to logs/marline.log only');
    await readiness(started.address(), ['mlp']);
    expect(statSync(log).mode & 0o777).toBe(0o600);

    const pid = pidIn(pidFile);
    const server = identityIn(pidFile);
    expect(started.output).toContain(`Marline runs as process ${pid}`);
    const stopped = await serve(['--stop']);
    expect(stopped).toMatchObject({ code: 0, output: 'Marline has stopped.\n' });
    await expect(fetch(`${started.address()}/ping`)).rejects.toThrow();
    await expect.poll(() => isAlive(server), { timeout: 10_000 }).toBe(false);
    expect(existsSync(pidFile)).toBe(false);
    expect(readFileSync(log, 'utf8')).toContain('Model server stopped.');
  });

  it('is refused while a server runs, which is left alone', async () => {
    const first = await serve(START);
    const pid = pidIn(pidFile);
    for (const args of [START, ['--foreground', ...START.slice(1)]]) {
      const second = await serve(args);
      expect(second.code).toBe(1);
      expect(second.output).toContain(
        `Marline is already running (process ${pid}), please use marline serve --stop`,
      );
    }
    expect((await fetch(`${first.address()}/ping`)).status).toBe(200);
  });

  it('exits 1 with the reason when the server cannot start, and leaves nothing behind', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const address = `http://127.0.0.1:${port}`;
    const failed = await serve(START, { MARLINE_MANAGEMENT_ADDRESS: address, LOG_LOCATION: 'elsewhere' });
    other.close();
    expect(failed.code).toBe(1);
    const reason = `management_address=${address} cannot be bound: the port is in use.`;
    expect(failed.output).toContain(reason);
    expect(readFileSync(join(folder, 'elsewhere/marline.log'), 'utf8')).toContain(reason);
    expect(existsSync(pidFile)).toBe(false);
  });

  it('refuses a wrong configuration before anything is started', async () => {
    const failed = await serve(['--start', '--model-store', 'nodir']);
    expect(failed).toMatchObject({ code: 1, output: 'error: --model-store directory not found: nodir\n' });
    expect(existsSync(join(folder, 'logs'))).toBe(false);
  });

  it('takes over from a server that was killed, and --stop removes the keys', async () => {
    const keyFile = join(folder, 'key_file.json');
    const withTokens = { MARLINE_DISABLE_TOKEN_AUTHORIZATION: 'false' };
    await serve(START, withTokens);
    const killed = identityIn(pidFile);
    process.kill(killed.pid, 'SIGKILL');
    await expect.poll(() => isAlive(killed), { timeout: 10_000 }).toBe(false);
    const next = await serve(START, withTokens);
    expect(next.code, next.output).toBe(0);
    expect(next.output.match(/Model server started\./g)).toHaveLength(1);
    expect(readFileSync(log, 'utf8').match(/Model server started\./g)).toHaveLength(2);
    expect(pidIn(pidFile)).not.toBe(killed.pid);
    expect(existsSync(keyFile)).toBe(true);
    expect(await stopServer(pidFile)).toBe('Marline has stopped.\n');
    expect(existsSync(keyFile)).toBe(false);
  });

  it('ends the server that is about to start, too, when it is interrupted', async () => {
    const starting = spawned(START);
    await expect.poll(() => existsSync(pidFile), { timeout: 30_000 }).toBe(true);
    const server = identityIn(pidFile);
    starting.signal('SIGINT');
    expect(await starting.exited()).toBe(1);
    await expect.poll(() => isAlive(server), { timeout: 10_000 }).toBe(false);
    expect(existsSync(pidFile)).toBe(false);
  });
});

describe('marline serve --foreground', { timeout: LIMIT_MS }, () => {
  it('is found by --stop, with --start before it as well', async () => {
    const server = spawned([...START, '--foreground']);
    await server.started();
    expect(await serve(['--stop'])).toMatchObject({ code: 0, output: 'Marline has stopped.\n' });
    expect(await server.exited()).toBe(0);
  });

  it('without it, and without --start, there may be any number of servers, and --stop leaves them alone', async () => {
    const servers = await Promise.all([spawned(START.slice(1)).started(), spawned(START.slice(1)).started()]);
    expect(await serve(['--stop'])).toMatchObject({ code: 0, output: 'Marline is not currently running.\n' });
    expect(await Promise.all(servers.map((server) => server.stop()))).toEqual([0, 0]);
  });
});
