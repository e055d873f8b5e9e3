import { mkdir, readFile, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ZipFile } from 'yazl';
import { tarOf, tgzOf, zipOf, type TarPart, type ZipPart } from '../archive/hostile-archives.js';
import { storeFolder } from '../archive/model-store-folder.js';
import { MANIFEST, refusal, tarRefusal, zipRefusal } from '../archive/refusals.js';

const evil: ZipPart = { name: 'evil', data: 'evil' };

const NAMES = [
  '../evil',
  'a/../../evil',
  '..\\evil',
  'a\\..\\..\\evil',
  'C:\\evil',
  'C:evil',
  '/evil',
  '//host/evil',
  'evil.',
  'evil ',
  'dir /evil',
  'e\u0007vil',
  'x'.repeat(300),
  'd/'.repeat(40) + 'evil',
];

describe('names that lead out of the archive', () => {
  it.each(NAMES)('refuses %j in a zip', async (name) => {
    expect(await zipRefusal([{ ...evil, name, flags: 0x0800 }])).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
      status: 500,
    });
  });

  it.each(NAMES.filter((name) => name !== 'C:evil'))('refuses %j in a tar', async (name) => {
    const inTop = name.startsWith('/') || name.startsWith('../') ? name : `m/${name}`;
    expect(await tarRefusal([{ name: inTop, data: 'evil', isPax: true }])).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
    });
  });

  it('refuses a NUL in a zip name, which would cut it short for the system', async () => {
    expect(await zipRefusal([{ ...evil, name: 'ok\0/../../evil' }])).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
    });
  });

  it('refuses the unicode name of an extra field as it refuses the plain one', async () => {
    const plain = Buffer.from('harmless');
    const { crc32 } = await import('node:zlib');
    const unicode = Buffer.from('../evil');
    const extra = Buffer.alloc(9 + unicode.length);
    extra.writeUInt16LE(0x7075, 0);
    extra.writeUInt16LE(5 + unicode.length, 2);
    extra.writeUInt8(1, 4);
    extra.writeUInt32LE(crc32(plain), 5);
    unicode.copy(extra, 9);
    expect(await zipRefusal([{ ...evil, name: plain, extra }])).toMatchObject({ code: 'ARCHIVE_UNSAFE' });
  });

  it("keeps TorchServe's text and status, and says what was wrong", async () => {
    expect(await zipRefusal([{ ...evil, name: '../evil.txt' }])).toMatchObject({
      message: 'Failed to save model: hostile.mar. The entry "../evil.txt" points outside the archive.',
      status: 500,
      type: 'InternalServerException',
    });
  });
});

describe('names that collide', () => {
  it.each([
    ['a duplicate', 'evil', 'evil'],
    ['another letter case', 'Evil', 'evil'],
    ['composed and decomposed letters', 'caf\u00e9', 'cafe\u0301'],
    ['a file as a folder', 'evil', 'evil/inner'],
    ['a folder as a file', 'evil/inner', 'evil'],
    ['folders in two letter cases', 'dir/a', 'DIR/b'],
  ])('refuses %s', async (_, first, second) => {
    const parts = [first, second].map((name) => ({ name: Buffer.from(name), data: 'x', flags: 0x0800 }));
    expect(await zipRefusal(parts)).toMatchObject({ code: 'ARCHIVE_UNSAFE', message: /collides/ });
    const tar = [first, second].map((name) => ({ name: `m/${name}`, data: 'x', isPax: true }));
    expect(await tarRefusal(tar)).toMatchObject({ code: 'ARCHIVE_UNSAFE', message: /collides/ });
  });
});

describe('entries that are neither files nor folders', () => {
  it.each([
    ['a symbolic link', 0o120777],
    ['a character device', 0o020666],
    ['a block device', 0o060666],
    ['a named pipe', 0o010666],
    ['a socket', 0o140666],
  ])('refuses %s in a zip', async (_, mode) => {
    expect(await zipRefusal([{ name: 'evil', data: '/etc/passwd', mode }])).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
    });
    expect(await zipRefusal([{ name: 'evil/', mode }])).toMatchObject({ code: 'ARCHIVE_UNSAFE' });
  });

  it.each([['SymbolicLink'], ['Link'], ['CharacterDevice'], ['BlockDevice'], ['FIFO']] as const)(
    'refuses a %s in a tar',
    async (type) => {
      const link = type.endsWith('Link') ? '/etc/passwd' : undefined;
      expect(await tarRefusal([{ name: 'm/evil', type, link }])).toMatchObject({ code: 'ARCHIVE_UNSAFE' });
    },
  );

  it('refuses a link before what is to be written through it', async () => {
    const parts: TarPart[] = [
      { name: 'm/dir', type: 'SymbolicLink', link: '/tmp' },
      { name: 'm/dir/evil', data: 'evil' },
    ];
    expect(await tarRefusal(parts)).toMatchObject({ code: 'ARCHIVE_UNSAFE', message: /SymbolicLink/ });
  });

  it('refuses a folder of the store whose links lead out, and takes those that stay inside', async () => {
    const folder = await storeFolder();
    await folder.put('m/weights.bin', 'w');
    await folder.put('m/MAR-INF/MANIFEST.json', '{}');
    await symlink('weights.bin', join(folder.modelStore, 'm/alias.bin'));
    const archive = await folder.store.open('m');
    expect(await readFile(join(archive.dir, 'alias.bin'), 'utf8')).toBe('w');
    await archive.release();
    await symlink('/etc/hostname', join(folder.modelStore, 'm/evil'));
    await expect(folder.store.open('m')).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
    expect(await folder.cached()).toEqual([]);
  });

  it('refuses a link to a folder, which could contain itself', async () => {
    const folder = await storeFolder();
    await folder.put('m/weights.bin', 'w');
    await symlink('.', join(folder.modelStore, 'm/loop'));
    await expect(folder.store.open('m')).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
  });
});

describe('archives that lie or are damaged', () => {
  const data = 'the quick brown fox '.repeat(100);

  it.each<[string, ZipPart]>([
    ['a smaller size than its content', { name: 'a', data, declaredSize: 10 }],
    ['a larger size than its content', { name: 'a', data, declaredSize: 1e6 }],
    ['a wrong checksum', { name: 'a', data, crc: 1 }],
    ['content beyond the end of the file', { name: 'a', data, declaredCompressedSize: 1e6 }],
    [
      'a stored size that differs from its compressed size',
      { name: 'a', data, isStored: true, declaredSize: 5 },
    ],
    ['encryption', { name: 'a', data, flags: 1 }],
    ['a method that is not read', { name: 'a', data, method: 14 }],
    ['content that is not deflated', { name: 'a', data, isStored: true, method: 8 }],
    ['a folder with content', { name: 'a/', data, isStored: true, mode: 0o040755 }],
  ])('calls a zip with %s invalid', async (_, part) => {
    expect(await zipRefusal([part])).toMatchObject({ code: 'ARCHIVE_INVALID', status: 400 });
  });

  it('says that an archive is encrypted', async () => {
    expect(await zipRefusal([{ name: 'a', data, flags: 1 }])).toMatchObject({ message: /"a" is encrypted/ });
  });

  it('calls truncated files invalid', async () => {
    const folder = await storeFolder();
    const zip = zipOf([MANIFEST, { name: 'a', data: Buffer.from(data) }]);
    const tgz = tgzOf([
      { name: 'm/a', data: Buffer.from(Array.from({ length: 5000 }, () => Math.random() * 256)) },
    ]);
    for (const part of [0.3, 0.6, 0.9]) {
      expect(await refusal(folder, 'cut.mar', zip.subarray(0, zip.length * part))).toMatchObject({
        code: 'ARCHIVE_INVALID',
      });
      expect(await refusal(folder, 'cut.tar.gz', tgz.subarray(0, tgz.length * part))).toMatchObject({
        code: 'ARCHIVE_INVALID',
      });
    }
  });

  it.each([
    ['text', Buffer.from('hello, this is no archive')],
    ['nothing', Buffer.alloc(0)],
    ['gzip of no tar', gzipSync('hello'.repeat(1000))],
    ['a tar whose header is damaged', gzipSync(Buffer.concat([Buffer.alloc(512, 'x'), tarOf([])]))],
    ['a tar entry that ends too early', gzipSync(tarOf([{ name: 'm/a', data: 'a', size: 1e6 }]))],
  ])('calls %s no gzip tar', async (_, content) => {
    expect(await refusal(await storeFolder(), 'broken.tar.gz', content)).toMatchObject({
      code: 'ARCHIVE_INVALID',
      status: 400,
    });
  });
});

describe('archives of other writers', () => {
  it('reads 64-bit sizes and sizes behind the content', async () => {
    const folder = await storeFolder();
    const zip = new ZipFile();
    zip.addReadStream(Readable.from(['streamed']), 'streamed', { forceZip64Format: true });
    zip.addBuffer(Buffer.from('buffered'), 'buffered', { forceZip64Format: true, compress: false });
    zip.addEmptyDirectory('folder');
    zip.end({ forceZip64Format: true, comment: '' });
    await folder.put('m.mar', await buffer(zip.outputStream));
    const archive = await folder.store.open('m.mar');
    expect((await readdir(archive.dir)).toSorted()).toEqual(['buffered', 'folder', 'streamed']);
    expect(await readFile(join(archive.dir, 'streamed'), 'utf8')).toBe('streamed');
    await archive.release();
  });

  it('reads a tar with dots before its paths, and one of a single file', async () => {
    const folder = await storeFolder();
    await folder.put(
      'dots.model',
      tgzOf([
        { name: './', type: 'Directory' },
        { name: './dir/', type: 'Directory' },
        { name: './dir/a', data: 'a' },
      ]),
    );
    await folder.put('single.tgz', tgzOf([{ name: 'handler.py', data: 'a', type: 'OldFile' }]));
    const [dots, single] = await Promise.all(
      ['dots.model', 'single.tgz'].map((name) => folder.store.open(name)),
    );
    expect([await readdir(join(dots!.dir, 'dir')), await readdir(single!.dir)]).toEqual([
      ['a'],
      ['handler.py'],
    ]);
    await Promise.all([dots!.release(), single!.release()]);
  });
});

describe('what is unpacked', () => {
  it('belongs to the server alone', async () => {
    const folder = await storeFolder();
    await folder.put('m.mar', zipOf([MANIFEST, { name: 'dir/tool.sh', data: '#!/bin/sh', mode: 0o104777 }]));
    const archive = await folder.store.open('m.mar');
    const mode = async (path: string) => (await stat(join(archive.dir, path))).mode & 0o7777;
    expect([await mode('.'), await mode('dir'), await mode('dir/tool.sh')]).toEqual([0o700, 0o700, 0o600]);
    expect((await stat(join(folder.cacheDir, 'archives'))).mode & 0o777).toBe(0o700);
    await archive.release();
  });

  it('does not follow what the store becomes later', async () => {
    const folder = await storeFolder();
    await folder.put('m/weights.bin', 'first');
    const archive = await folder.store.open('m');
    await writeFile(join(folder.modelStore, 'm/weights.bin'), 'second');
    expect(await readFile(join(archive.dir, 'weights.bin'), 'utf8')).toBe('first');
    await archive.release();
  });

  it('is not put where somebody else could exchange it', async () => {
    const folder = await storeFolder();
    await folder.put('m.mar', zipOf([MANIFEST]));
    await mkdir(folder.cacheDir);
    await writeFile(join(folder.cacheDir, 'archives'), 'a file in the way');
    await expect(folder.store.open('m.mar')).rejects.toMatchObject({
      code: 'OPTIONS_INVALID',
      message: /set cacheDir/,
    });
  });

  it('never comes from outside the store', async () => {
    const folder = await storeFolder();
    await writeFile(join(folder.root, 'outside.mar'), zipOf([MANIFEST]));
    await mkdir(join(folder.root, 'outside'));
    await mkdir(join(folder.root, 'store-evil'));
    for (const url of ['outside.mar', 'outside', 'store-evil', 'store'].map((name) =>
      join(folder.root, name),
    )) {
      await expect(folder.store.open(url)).rejects.toMatchObject({
        code: 'ARCHIVE_NOT_FOUND',
        message: `Model not found at: ${url}`,
      });
    }
    for (const url of [
      '../outside.mar',
      `${folder.modelStore}/../outside.mar`,
      'a/..',
      'a..b.mar',
      '..\\outside.mar',
    ]) {
      await expect(folder.store.open(url)).rejects.toMatchObject({
        code: 'ARCHIVE_URL_REFUSED',
        message: `Relative path is not allowed in url: ${url}`,
      });
    }
    for (const url of [
      'http://127.0.0.1/a.mar',
      'https://x/a.mar',
      'HTTP://x/a.mar',
      `file://${folder.root}/outside.mar`,
    ]) {
      await expect(folder.store.open(url)).rejects.toMatchObject({
        code: 'ARCHIVE_URL_REFUSED',
        message: `Given URL ${url} does not match any allowed URL(s)`,
        status: 404,
      });
    }
    for (const url of ['ftp://x/a.mar', 's3://bucket/a.mar', 'a.mar\0.mar']) {
      await expect(folder.store.open(url)).rejects.toMatchObject({ code: 'ARCHIVE_NOT_FOUND' });
    }
  });
});
