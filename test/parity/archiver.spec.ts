import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buffer } from 'node:stream/consumers';
import * as tar from 'tar';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import yauzl from 'yauzl';
import { runArchive } from '../../src/commands/archive.js';

/** One run of torch-model-archiver 0.12.0 and what it left behind. */
interface Recorded {
  readonly name: string;
  readonly setup: readonly string[];
  readonly request: { readonly argv: readonly string[] };
  readonly response: { readonly exitCode: number; readonly stdout: string; readonly stderr: string };
  readonly produced?: {
    readonly path: string;
    readonly exists: boolean;
    readonly format?: string;
    readonly entries?: readonly Listed[];
    readonly manifestText?: string;
  };
}

interface Listed {
  readonly name: string;
  readonly size: number;
  readonly compress_type?: number;
  readonly sha256?: string;
}

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/archives/${path}`, import.meta.url));
const recorded = readFileSync(new URL('goldens/archiver.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recorded);
// Workflow archives are made by torch-workflow-archiver; every other record belongs to the model archiver.
const records = recorded.filter(({ request }) => request.argv[0] === 'torch-model-archiver');

let cwd: string;

beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'marline-archiver-'));
  cpSync(fixture('src'), join(cwd, 'src'), { recursive: true });
  cpSync(fixture('wf'), join(cwd, 'wf'), { recursive: true });
  for (const folder of ['store', 'ver', 'out']) mkdirSync(join(cwd, folder));
});

afterEach(() => rmSync(cwd, { recursive: true }));

async function run({ request }: Recorded) {
  let out = '';
  let err = '';
  const io = { cwd, out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  const exitCode = await runArchive(request.argv.slice(1), io);
  return { exitCode, out, err };
}

/** The last line of a message, without what names the program: its own name, or the Python module of an error class. */
function lastLine(text: string): string {
  const line = text.trimEnd().split('\n').at(-1) ?? '';
  return line
    .replace(/^(torch-model-archiver|marline archive): /, '')
    .replace('model_archiver.model_archiver_error.', '')
    .replace(", 'node')", ')');
}

async function listZip(path: string): Promise<(Listed & { text: string })[]> {
  const zip = await yauzl.openPromise(path, { lazyEntries: true, autoClose: false });
  const found = [];
  for await (const entry of zip.eachEntry()) {
    const content = await buffer(await zip.openReadStreamPromise(entry));
    found.push({ ...listed(entry.fileName, content), compress_type: entry.compressionMethod });
  }
  zip.close();
  return found;
}

async function listTar(path: string): Promise<(Listed & { text: string })[]> {
  const found: Promise<Listed & { text: string }>[] = [];
  await tar.list({
    file: path,
    onReadEntry: (entry) => void found.push(entry.concat().then((content) => listed(entry.path, content))),
  });
  return Promise.all(found);
}

function listFolder(path: string): (Listed & { text: string })[] {
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(path, name)).isFile(),
  );
  const byManifest = files.toSorted(
    (a, b) => Number(a.startsWith('MAR-INF')) - Number(b.startsWith('MAR-INF')),
  );
  return byManifest.map((name) => listed(name, readFileSync(join(path, name))));
}

function listed(name: string, content: Buffer): Listed & { text: string } {
  const sha256 = createHash('sha256').update(content).digest('hex').slice(0, 16);
  return { name, size: content.length, sha256, text: content.toString() };
}

/** What must agree: all but the manifest's size and digest, since it names the time and the archiver's version. */
function comparable({ name, size, sha256, compress_type }: Listed) {
  const content = name.endsWith('MAR-INF/MANIFEST.json')
    ? {}
    : { size, ...(sha256 === undefined ? {} : { sha256 }) };
  return { name, ...content, ...(compress_type === undefined ? {} : { compress_type }) };
}

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
const settled = (manifest: string) =>
  manifest
    .replace(/"createdOn": "[^"]*"/, '"createdOn": ""')
    .replace(/"archiverVersion": "[^"]*"/, '"archiverVersion": ""');

describe('marline archive, against torch-model-archiver', () => {
  it('is compared with every recorded run of the model archiver', () => {
    expect(records).toHaveLength(recorded.length - 6);
    expect(new Set(records.map(({ name }) => name)).size).toBe(records.length);
  });

  it.each(records.filter(({ name }) => name !== 'help').map((record) => [record.name, record] as const))(
    '%s',
    async (_, record) => {
      for (const name of record.setup) await run(records.find((each) => each.name === name)!);
      const { exitCode, err } = await run(record);
      expect(exitCode).toBe(record.response.exitCode);
      expect(lastLine(err)).toBe(lastLine(record.response.stderr));
      if (record.produced === undefined) return;
      const { path, exists, format, entries = [], manifestText } = record.produced;
      const target = join(cwd, path);
      expect(statSync(target, { throwIfNoEntry: false }) !== undefined).toBe(exists);
      if (!exists) {
        expect(readdirSync(join(cwd, 'out'))).toEqual([]);
        return;
      }
      const found =
        format === 'zip'
          ? await listZip(target)
          : format === 'tar.gz'
            ? await listTar(target)
            : listFolder(target);
      // The archiver packs in the order in which the file system lists its copies; only the manifest has a place.
      const expected = entries.map((entry) =>
        comparable(format === 'zip' ? entry : { ...entry, compress_type: undefined }),
      );
      expect(found.map(comparable).toSorted(byName)).toEqual(expected.toSorted(byName));
      expect(found.at(-1)?.name).toBe(entries.at(-1)?.name);
      expect(settled(found.at(-1)?.text ?? '')).toBe(settled(manifestText ?? 'no manifest was recorded'));
      expect(readdirSync(dirname(target)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    },
  );

  it('help names every option, and shows an example', async () => {
    const help = records.find(({ name }) => name === 'help')!;
    const { exitCode, out } = await run(help);
    expect(exitCode).toBe(0);
    const options = help.response.stdout
      .match(/^ {2}-[^ ]+(?:.*, )?(?:--[\w-]+)?/gm)!
      .flatMap((line) => line.match(/--[\w-]+/g) ?? []);
    expect(options.length).toBeGreaterThan(10);
    for (const option of new Set(options)) expect(out).toContain(option);
    expect(out).toMatch(/Example:\n {2}\$ marline archive --model-name/);
  });
});
