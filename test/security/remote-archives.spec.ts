import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ModelStore, type ArchiveLimits } from '#libs/archive';
import { packFixture } from '../support/serve-app.js';

let folder: string;
let server: Server | undefined;
let archive: Buffer;
let asked: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'marline-remote-'));
  archive = await readFile(join(folder, await packFixture(folder, 'mlp')));
  asked = [];
});
afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
  await rm(folder, { recursive: true });
});

/** @returns its host with port */
async function host(answer: RequestListener): Promise<string> {
  server = createServer((request, response) => {
    asked.push(request.url ?? '');
    answer(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const sending = (): Promise<string> => host((_request, response) => void response.end(archive));
const store = (allowedUrls: readonly string[], limits: Partial<ArchiveLimits> = {}) =>
  new ModelStore({ modelStore: folder, cacheDir: join(folder, 'cache'), allowedUrls, limits });
const leftovers = () => readdir(join(folder, 'cache/downloads')).catch(() => []);

describe('an archive from elsewhere', () => {
  it('is fetched and unpacked, and leaves no file behind', async () => {
    const at = await sending();
    const opened = await store([`http://${at}/.*`]).open(`http://${at}/my-model.mar?key=1`);
    expect(opened).toMatchObject({
      url: `http://${at}/my-model.mar?key=1`,
      defaultName: 'my_model',
      trusted: false,
      manifest: { model: { modelName: 'mlp' } },
    });
    expect(await leftovers()).toEqual([]);
    await opened.release();
    expect(await readdir(join(folder, 'cache/archives/entries'))).toEqual([]);
  });

  it('is not asked for where nothing allows it', async () => {
    const at = await sending();
    for (const allowed of [[], [`http://${at}/other/.*`], [`https://${at}/.*`]])
      await expect(store(allowed).open(`http://${at}/a.mar`)).rejects.toMatchObject({
        code: 'ARCHIVE_URL_REFUSED',
      });
    expect(asked).toEqual([]);
  });

  it('is not fetched under the name of a file of the store', async () => {
    const at = await sending();
    await writeFile(join(folder, 'a.mar'), archive);
    for (const url of [`http://${at}/a.mar`, `http://${at}/sub/a%2Emar?key=1`, `file://${folder}/a.mar`])
      await expect(store([`http://${at}/.*`, 'file:///.*']).open(url)).rejects.toMatchObject({
        code: 'ARCHIVE_EXISTS',
        status: 500,
        torchServeMessage: 'Model file already exists a.mar',
      });
    // Who may not fetch it is not told what there is.
    await expect(store([]).open(`http://${at}/a.mar`)).rejects.toMatchObject({ code: 'ARCHIVE_URL_REFUSED' });
    expect(asked).toEqual([]);
  });

  it('does not come from a private address that only a wild card allows', async () => {
    const at = await sending();
    const port = at.split(':')[1];
    for (const url of [
      `http://${at}/a.mar`,
      `http://localhost:${port}/a.mar`,
      `http://0x7f000001:${port}/a.mar`,
    ])
      await expect(store(['http://.*']).open(url)).rejects.toMatchObject({ code: 'ARCHIVE_DOWNLOAD_FAILED' });
    expect(asked).toEqual([]);
  });

  it.each([
    ['a path that is not allowed', (at: string) => `http://${at}/secret/a.mar`, 'ARCHIVE_URL_REFUSED'],
    ['another host', () => 'http://169.254.169.254/latest/a.mar', 'ARCHIVE_URL_REFUSED'],
    ['a file', () => 'file:///etc/hostname', 'ARCHIVE_DOWNLOAD_FAILED'],
    ['itself, for ever', (at: string) => `http://${at}/ok/a.mar`, 'ARCHIVE_DOWNLOAD_FAILED'],
  ])('is refused when it redirects to %s', async (_what, location, code) => {
    const at = await host((request, response) =>
      response.writeHead(302, { location: location(request.headers.host ?? '') }).end(),
    );
    const opening = store([`http://${at}/ok/.*`, 'file://.*']).open(`http://${at}/ok/a.mar`);
    await expect(opening).rejects.toMatchObject({ code });
    expect(asked.filter((path) => path !== '/ok/a.mar')).toEqual([]);
    expect(asked.length).toBeLessThan(10);
    expect(await leftovers()).toEqual([]);
  });

  it('may bring code only when the list pins it, whoever else does', async () => {
    const at = await sending();
    const pin = `#sha256=${createHash('sha256').update(archive).digest('hex')}`;
    const url = `http://${at}/a.mar`;
    for (const [entry, of, trusted] of [
      [`${url}${pin}`, url, true],
      [url, `${url}${pin}`, false],
    ] as const) {
      const opened = await store([entry]).open(of);
      expect(opened.trusted).toBe(trusted);
      await opened.release();
    }
  });

  it('must be as it was pinned, by the list and by the caller', async () => {
    const at = await sending();
    const sha256 = createHash('sha256').update(archive).digest('hex');
    const other = 'ab'.repeat(32);
    const url = `http://${at}/a.mar`;
    const open = async (entry: string, of: string) => (await store([entry]).open(of)).release();
    await open(`http://${at}/.*#sha256=${sha256}`, url);
    await open(`http://${at}/.*`, `${url}#sha256=${sha256.toUpperCase()}`);
    for (const [entry, of] of [
      [`http://${at}/.*#sha256=${other}`, url],
      [`http://${at}/.*`, `${url}#sha256=${other}`],
      [`http://${at}/.*#sha256=${sha256}`, `${url}#sha256=${other}`],
    ] as const)
      await expect(open(entry, of)).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
    await expect(open(`http://${at}/.*`, `${url}#sha256=12`)).rejects.toMatchObject({
      code: 'ARCHIVE_DOWNLOAD_FAILED',
    });
    expect(await leftovers()).toEqual([]);
  });

  it.each([
    [
      'ends early',
      (response: ServerResponse) => {
        response.writeHead(200, { 'content-length': archive.length });
        response.write(archive.subarray(0, 100), () => response.destroy());
      },
    ],
    ['is an error page', (response: ServerResponse) => response.writeHead(403).end('no')],
  ])('fails when the answer %s, without a trace', async (_what, answer) => {
    const at = await host((_request, response) => {
      answer(response);
    });
    await expect(store([`http://${at}/.*`]).open(`http://${at}/a.mar`)).rejects.toMatchObject({
      code: 'ARCHIVE_DOWNLOAD_FAILED',
      message: `Failed to download archive from: http://${at}/a.mar`,
    });
    expect(await leftovers()).toEqual([]);
  });

  it('is given up as soon as it is too large, whatever its length is said to be', async () => {
    const at = await host((_request, response) => {
      const more = () => void response.write(Buffer.alloc(65_536), more);
      response.on('close', () => response.destroy());
      more();
    });
    const opening = store([`http://${at}/.*`], { archiveBytes: 200_000 }).open(`http://${at}/a.mar`);
    await expect(opening).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
    expect(await leftovers()).toEqual([]);
  });

  it('is a file of this machine only where that is allowed, and never trusted by a wild card', async () => {
    const elsewhere = join(folder, 'elsewhere');
    await mkdir(elsewhere);
    await cp(join(folder, 'mlp.mar'), join(elsewhere, 'other.mar'));
    const url = `file://${elsewhere}/other.mar`;
    await expect(store(['https://.*']).open(url)).rejects.toMatchObject({ code: 'ARCHIVE_URL_REFUSED' });
    for (const [entry, trusted] of [
      [`file://${elsewhere}/.*`, true],
      ['file://.*', false],
    ] as const) {
      const opened = await store([entry]).open(url);
      expect(opened.trusted).toBe(trusted);
      await opened.release();
    }
    await expect(store(['file://.*']).open(`file://${dirname(folder)}`)).rejects.toMatchObject({
      code: 'ARCHIVE_DOWNLOAD_FAILED',
    });
    expect(await readFile(join(elsewhere, 'other.mar'))).toEqual(archive);
  });
});
