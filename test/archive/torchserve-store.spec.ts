import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelStore, validateManifest, type ModelArchive } from '#libs/archive';

interface Recorded {
  readonly name: string;
  readonly produced?: {
    readonly path: string;
    readonly entries: readonly { readonly name: string; readonly sha256?: string }[];
    readonly manifest: Record<string, unknown>;
  };
}

const modelStore = fileURLToPath(new URL('../fixtures/torchserve-store', import.meta.url));
const recorded = readFileSync(new URL('../parity/goldens/archiver.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recorded)
  .filter(({ name, produced }) => name.startsWith('store-') && produced !== undefined);

let cacheDir: string;
let store: ModelStore;

beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'marline-cache-'));
  store = new ModelStore({ modelStore, cacheDir });
});

afterAll(async () => {
  expect(await readdir(join(cacheDir, 'archives/entries'))).toEqual([]);
  await rm(cacheDir, { recursive: true });
});

async function opened<T>(url: string, look: (archive: ModelArchive) => T | Promise<T>): Promise<T> {
  const archive = await store.open(url);
  try {
    return await look(archive);
  } finally {
    await archive.release();
  }
}

const filesOf = (dir: string) =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(dir, name)).isFile(),
  );
const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);

describe("an archive of TorchServe's own archiver", () => {
  it.each(recorded.map((record) => [record.name, record.produced!] as const))(
    'is read whole: %s',
    async (_, produced) => {
      await opened(produced.path.replace('store/', ''), (archive) => {
        const inTop = produced.path.endsWith('.tar.gz');
        const names = produced.entries.map(({ name }) => (inTop ? name.slice(name.indexOf('/') + 1) : name));
        expect(filesOf(archive.dir).toSorted()).toEqual(names.toSorted());
        for (const [index, { sha256 }] of produced.entries.entries()) {
          if (sha256 !== undefined) expect(digest(join(archive.dir, names[index]!))).toBe(sha256);
        }
        expect(archive.manifest).toEqual(produced.manifest);
        expect(archive).toMatchObject({ trusted: true, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
        expect(archive.config.warnings).toEqual([]);
      });
    },
  );

  it('brings its configuration', async () => {
    await opened('allkeys.mar', ({ config }) => {
      expect(config).toEqual({
        engine: {},
        minWorkers: 1,
        maxWorkers: 2,
        batchSize: 3,
        maxBatchDelay: 77,
        responseTimeout: 33,
        startupTimeout: 44,
        deviceType: 'cpu',
        jobQueueSize: 7,
        maxRetryTimeoutInSec: 9,
        clientTimeoutInMills: 5000,
        useJobTicket: false,
        useVenv: false,
        parallelLevel: 0,
        raw: expect.objectContaining({ handler: { key1: 'value1', nested: { a: [1, 2] } } }),
        warnings: [],
      });
    });
    const stateful = {
      sequenceBatching: true,
      sequenceMaxIdleMSec: 10000,
      maxNumSequence: 4,
      maxSequenceJobQueueSize: 10,
    };
    await opened('stateful.mar', ({ config }) => expect(config).toMatchObject(stateful));
  });

  it.each([
    ['echo.mar', '1.0'],
    ['echo_v2.mar', '2.0'],
    ['echo_v3.mar', '3.0'],
    ['sub/echo.mar', '1.0'],
    ['anywhere/echo_v2.mar', '2.0'],
    [join(modelStore, 'echo.mar'), '1.0'],
    [join(modelStore, 'sub/echo.mar'), '1.0'],
  ])('is found at %s', async (url, version) => {
    await opened(url, ({ manifest }) => expect(manifest.model.modelVersion).toBe(version));
  });
});

describe('archives that TorchServe registers although they are broken', () => {
  it.each(['notazip.mar', 'nomanifest.mar', 'emptymanifest.mar', 'sub'])(
    '%s has an empty manifest, and no name',
    async (url) => {
      await opened(url, (archive) => {
        expect(archive.manifest).toEqual({ runtime: 'python', model: {} });
        expect(() => validateManifest(archive)).toThrow('Model name is not defined.');
        expect(validateManifest(archive, { modelName: 'given' }).name).toBe('given');
        expect(validateManifest(archive, { atStartup: true }).name).toBe(url.replace('.mar', ''));
      });
    },
  );

  it('nohandler.mar has no handler', async () => {
    await opened('nohandler.mar', (archive) =>
      expect(validateManifest(archive).manifest.model.handler).toBeUndefined(),
    );
  });

  it('badyaml.mar is served without its configuration', async () => {
    await opened('badyaml.mar', ({ config }) => {
      expect(config).toEqual({
        engine: {},
        raw: {},
        warnings: [expect.stringContaining('model-config.yaml is not valid YAML')],
      });
    });
  });
});

describe('archives that TorchServe refuses', () => {
  it.each([
    ['badmanifest.mar', 'ARCHIVE_INVALID', 400, 'Failed to parse signature.json.'],
    [
      'zipslip.mar',
      'ARCHIVE_UNSAFE',
      500,
      /^Failed to save model: zipslip\.mar\. The entry "\.\.\/evil\.txt" points outside/,
    ],
    [
      'wf_seq.war',
      'ARCHIVE_UNSAFE',
      500,
      'Failed to save model: wf_seq.war. It is a workflow archive, not a',
    ],
    ['nosuch.mar', 'ARCHIVE_NOT_FOUND', 404, 'Model not found at: nosuch.mar'],
    ['', 'ARCHIVE_URL_REFUSED', 404, 'empty url'],
    [
      '../store/echo.mar',
      'ARCHIVE_URL_REFUSED',
      404,
      'Relative path is not allowed in url: ../store/echo.mar',
    ],
  ])('%s', async (url, code, status, message) => {
    const error = await store.open(url).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code, status });
    expect((error as Error).message).toMatch(message);
  });

  it('says so when there is no store', async () => {
    const none = new ModelStore({ cacheDir });
    await expect(none.open('echo.mar')).rejects.toMatchObject({
      code: 'ARCHIVE_URL_REFUSED',
      message: 'Model store has not been configured.',
    });
    expect(await none.list()).toEqual([]);
  });
});

describe('the store', () => {
  it('lists what load_models=all loads', async () => {
    const files = readdirSync(modelStore).filter((name) => name !== 'wf_seq.war');
    expect(await store.list()).toEqual(files.toSorted());
  });

  it('unpacks the same archive once for all that hold it', async () => {
    const other = new ModelStore({ modelStore, cacheDir });
    const [first, second] = await Promise.all([store.open('echo.mar'), other.open('echo.mar')]);
    expect(second.dir).toBe(first.dir);
    const inode = (await stat(first.dir)).ino;
    await Promise.all([first.release(), first.release()]);
    expect((await stat(second.dir)).ino).toBe(inode);
    await second.release();
    expect(await readdir(join(cacheDir, 'archives/entries'))).toEqual([]);
  });
});
