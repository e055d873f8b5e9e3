import { readdir } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { tarOf, tgzOf, zipOf } from '../archive/hostile-archives.js';
import { storeFolder } from '../archive/model-store-folder.js';
import { MANIFEST, refusal, tarRefusal, zipRefusal } from '../archive/refusals.js';

const MIB = 2 ** 20;

describe('bombs', () => {
  const zeros = Buffer.alloc(80 * MIB);

  it('stops at the ratio while inflating a zip', async () => {
    expect(await zipRefusal([{ name: 'bomb', data: zeros }])).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
      message: /more than 200 times its size/,
    });
  });

  it('stops at the ratio while inflating a tar', async () => {
    expect(await tarRefusal([{ name: 'm/bomb', data: zeros }])).toMatchObject({
      message: /more than 200 times its size/,
    });
  });

  it('counts what lies between the entries of a tar too', async () => {
    const header = tarOf([
      { name: 'x', type: 'GlobalExtendedHeader', data: Buffer.alloc(60_000, ' ') },
    ]).subarray(0, -1024);
    const headers = Buffer.concat(Array.from({ length: 1200 }, () => header));
    const tgz = gzipSync(Buffer.concat([headers, tarOf([{ name: 'm/a', data: 'a' }])]));
    expect(await refusal(await storeFolder(), 'meta.tar.gz', tgz)).toMatchObject({
      message: /more than 200 times its size/,
    });
  });

  it('refuses a header that is itself too large', async () => {
    const parts = [{ name: 'x', type: 'GlobalExtendedHeader' as const, data: Buffer.alloc(MIB, ' ') }];
    expect(await tarRefusal(parts)).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
      message: /neither a file nor a folder/,
    });
  });

  it.each([
    ['one entry', { entryBytes: 1000 }, /unpacks to more than 1000 bytes/],
    ['all entries', { totalBytes: 1500 }, /unpacks to more than 1500 bytes/],
    ['the archive', { archiveBytes: 10 }, /larger than 10 bytes/],
  ])('limits the bytes of %s', async (_, limits, message) => {
    const data = Buffer.alloc(1024, 'x');
    const parts = [
      { name: 'a', data },
      { name: 'b', data },
    ];
    expect(await zipRefusal(parts, await storeFolder(limits))).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
      message,
    });
    const tar = parts.map(({ name }) => ({ name: `m/${name}`, data }));
    expect(await tarRefusal(tar, await storeFolder(limits))).toMatchObject({
      code: 'ARCHIVE_UNSAFE',
      message,
    });
  });

  it('limits entries, which cost nothing to pack', async () => {
    const folder = await storeFolder({ entries: 100 });
    const many = Array.from({ length: 100 }, (_, index) => ({ name: `e${index}` }));
    const folders = Array.from({ length: 101 }, (_, index) => ({
      name: `m/d${index}/`,
      type: 'Directory' as const,
    }));
    expect(await zipRefusal(many, folder)).toMatchObject({ message: /more than 100 entries/ });
    expect(
      await tarRefusal(
        many.map(({ name }) => ({ name: `m/${name}` })),
        folder,
      ),
    ).toMatchObject({ message: /more than 100 entries/ });
    expect(await tarRefusal(folders, folder)).toMatchObject({ message: /more than 100 entries/ });
  });

  it('refuses a million entries by the number that the archive itself tells', async () => {
    const folder = await storeFolder();
    expect(await refusal(folder, 'many.mar', zipOf([MANIFEST], 65_000))).toMatchObject({
      message: /more than 10000 entries/,
    });
  });

  it('refuses entries that share their bytes', async () => {
    const kernel = { name: 'a', data: Buffer.alloc(MIB) };
    const quoted = [kernel, { ...kernel, name: 'b', offsetOf: 1 }];
    expect(await zipRefusal(quoted)).toMatchObject({ code: 'ARCHIVE_UNSAFE', message: /overlap/ });
  });

  it('refuses an entry that reaches into the next one', async () => {
    const parts = [
      { name: 'a', data: 'x'.repeat(50), isStored: true, declaredCompressedSize: 90, declaredSize: 90 },
      { name: 'b', data: 'y'.repeat(90), isStored: true },
    ];
    expect(await zipRefusal(parts)).toMatchObject({ code: 'ARCHIVE_UNSAFE', message: /overlap/ });
  });

  it('does not unpack what is packed inside', async () => {
    const folder = await storeFolder();
    await folder.put(
      'nested.mar',
      zipOf([MANIFEST, { name: 'inner.zip', data: zipOf([{ name: '../evil', data: 'x' }]) }]),
    );
    const archive = await folder.store.open('nested.mar');
    expect((await readdir(archive.dir)).toSorted()).toEqual(['MAR-INF', 'inner.zip']);
    await archive.release();
    expect(
      await refusal(folder, 'twice.tar.gz', gzipSync(tgzOf([{ name: 'm/a', data: 'a' }]))),
    ).toMatchObject({ message: /compressed twice/ });
  });
});
