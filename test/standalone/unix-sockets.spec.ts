import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { webRequest } from '../support/web-request.js';
import { ServerFolder } from './open-server.js';
import { FREE_PORTS, MarlineProcess, portOf } from './server-process.js';

let folder: ServerFolder;
let path: string;
beforeEach(() => {
  folder = new ServerFolder();
  path = join(folder.path, 'inference.sock');
});
afterEach(() => folder.remove());

const ping = (socketPath = path) => webRequest({ socketPath, path: '/ping' });
const HEALTHY = { status: 200, body: '{\n  "status": "Healthy"\n}\n' };

describe('a Unix socket', () => {
  it('serves what its address says, and is gone after the stop', async () => {
    await folder.pack('mlp');
    const [management, metrics] = [join(folder.path, 'management.sock'), join(folder.path, 'metrics.sock')];
    const server = await folder.start({
      inference_address: `unix:${path}`,
      management_address: `unix:${management}`,
      metrics_address: `unix:${metrics}`,
    });
    expect(server.addresses.inference).toEqual({ path });
    expect(await ping()).toMatchObject(HEALTHY);
    expect((await webRequest({ socketPath: management, path: '/models' })).body).toContain('"mlp"');
    expect((await webRequest({ socketPath: metrics, path: '/metrics' })).body).toContain('Requests2XX');
    expect((await ping(management)).status).toBe(404);
    const body = JSON.stringify({
      inputs: [
        { name: 'input', datatype: 'FP32', shape: [1, 128], data: Array.from({ length: 128 }, () => 0.5) },
      ],
    });
    const answer = await webRequest({ socketPath: path, method: 'POST', path: '/v2/models/mlp/infer' }, body);
    expect(JSON.parse(answer.body)).toMatchObject({ outputs: [{ shape: [1, 10] }] });
    const { stdout } = await promisify(execFile)('curl', [
      '-sS',
      '--unix-socket',
      path,
      'http://localhost/ping',
    ]);
    expect(stdout).toBe(HEALTHY.body);
    await folder.closeAll();
    expect([path, management, metrics].filter((each) => existsSync(each))).toEqual([]);
  });

  it('may stand beside ports, and may be one for all APIs', async () => {
    const mixed = await folder.start({ inference_address: `unix:${path}` });
    expect(await ping()).toMatchObject(HEALTHY);
    expect((await webRequest({ port: portOf(mixed, 'management'), path: '/models' })).status).toBe(200);
    const both = join(folder.path, 'both.sock');
    await folder.start({ inference_address: `unix:${both}`, management_address: `unix://${both}` });
    for (const each of ['/ping', '/models', '/metrics'])
      expect([each, (await webRequest({ socketPath: both, path: each })).status]).toEqual([each, 200]);
  });

  it('of a server that was killed is taken over', async () => {
    const serve = () =>
      new MarlineProcess(['serve', '--model-store', 'store', '--ncs'], {
        cwd: folder.path,
        env: { ...FREE_PORTS, MARLINE_INFERENCE_ADDRESS: `unix:${path}` },
      });
    const first = await serve().started();
    expect(first.address('Inference')).toBe(`unix:${path}`);
    first.signal('SIGKILL');
    await first.exited();
    expect(lstatSync(path).isSocket()).toBe(true);
    const second = await serve().started();
    expect(await ping()).toMatchObject(HEALTHY);
    expect(await second.stop()).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  it('that somebody listens on stays his', async () => {
    const other = createServer((_request, response) => response.end('mine')).listen(path);
    await once(other, 'listening');
    const started = folder.start({ inference_address: `unix:${path}` });
    await expect(started).rejects.toThrow(
      `inference_address=unix:${path} cannot be bound: a server listens there.`,
    );
    expect((await ping()).body).toBe('mine');
    other.close();
  });

  it('of another listener of the same server is refused', async () => {
    const started = folder.start({ inference_address: `unix:${path}`, metrics_address: `unix:${path}` });
    await expect(started).rejects.toThrow('metrics_address');
    expect(existsSync(path)).toBe(false);
  });

  it('never takes the place of a file, a folder or a link', async () => {
    const file = join(folder.path, 'file');
    writeFileSync(file, 'precious');
    const link = join(folder.path, 'link');
    symlinkSync(file, link);
    const directory = join(folder.path, 'directory');
    mkdirSync(directory);
    for (const taken of [file, link, directory]) {
      const started = folder.start({ inference_address: `unix:${taken}` });
      await expect(started).rejects.toThrow('there is a file which is no socket.');
    }
    expect(readFileSync(link, 'utf8')).toBe('precious');
    expect(lstatSync(directory).isDirectory()).toBe(true);
  });

  it('needs a folder', async () => {
    for (const missing of ['nosuch/a.sock', 'store/file/a.sock']) {
      writeFileSync(join(folder.path, 'store/file'), '');
      const started = folder.start({ inference_address: `unix:${join(folder.path, missing)}` });
      await expect(started).rejects.toThrow('its folder is not there, or this user may not write into it.');
    }
  });

  it('answers what is no HTTP, and closes while a client stays connected', async () => {
    const server = await folder.start({ inference_address: `unix:${path}` });
    const client = connect(path);
    client.write('nonsense\r\n\r\n');
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 400 /);
    const idle = connect(path);
    await once(idle, 'connect');
    const ended = once(idle, 'close');
    await server.close();
    await ended;
  });
});
