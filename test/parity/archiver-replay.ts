import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buffer } from 'node:stream/consumers';
import * as tar from 'tar';
import yauzl from 'yauzl';
import { runArchive } from '../../src/commands/archive.js';
import { GOLDENS } from './records.js';

/** One run of torch-model-archiver 0.12.0 and what it left behind. */
export interface RecordedArchiving {
  readonly name: string;
  /** Names of the runs before it. */
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

/** What a run of an archiver is compared by. */
export interface Archiving {
  readonly exitCode: number;
  /** The last line of what it complained about. */
  readonly complaint: string;
  /** Missing where a run is not about an archive. */
  readonly archive?: {
    readonly exists: boolean;
    readonly entries: readonly object[];
    readonly last?: string;
    readonly manifest: string;
  };
  /** Files that no run should leave. */
  readonly leftovers: readonly string[];
}

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/archives/${path}`, import.meta.url));
const recorded = readFileSync(new URL('archiver.jsonl', GOLDENS), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as RecordedArchiving);

/** Every recorded run of the model archiver; workflow archives are made by torch-workflow-archiver. */
export const ARCHIVER_RECORDS: readonly RecordedArchiving[] = recorded.filter(
  ({ request }) => request.argv[0] === 'torch-model-archiver',
);

/** Runs `marline archive` as the archiver was run, in a fresh folder: what it did, and what the archiver had done. */
export async function replayArchiving(
  record: RecordedArchiving,
): Promise<{ readonly ours: Archiving; readonly theirs: Archiving; readonly output: string }> {
  const cwd = mkdtempSync(join(tmpdir(), 'marline-archiver-'));
  try {
    cpSync(fixture('src'), join(cwd, 'src'), { recursive: true });
    cpSync(fixture('wf'), join(cwd, 'wf'), { recursive: true });
    for (const folder of ['store', 'ver', 'out']) mkdirSync(join(cwd, folder));
    for (const name of record.setup)
      await run(
        ARCHIVER_RECORDS.find((each) => each.name === name)!,
        cwd,
      );
    const { exitCode, err, out } = await run(record, cwd);
    const ours = { exitCode, complaint: lastLine(err), ...(await left(record, cwd)) };
    return { ours, theirs: expected(record), output: out };
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

async function run({ request }: RecordedArchiving, cwd: string) {
  let out = '';
  let err = '';
  const io = { cwd, out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  const exitCode = await runArchive(request.argv.slice(1), io);
  return { exitCode, out, err };
}

async function left(
  { produced }: RecordedArchiving,
  cwd: string,
): Promise<Pick<Archiving, 'archive' | 'leftovers'>> {
  if (produced === undefined) return { leftovers: [] };
  const { path, format } = produced;
  const target = join(cwd, path);
  const exists = statSync(target, { throwIfNoEntry: false }) !== undefined;
  if (!exists)
    return { archive: { exists, entries: [], manifest: '' }, leftovers: readdirSync(join(cwd, 'out')) };
  const found =
    format === 'zip'
      ? await listZip(target)
      : format === 'tar.gz'
        ? await listTar(target)
        : listFolder(target);
  return {
    archive: {
      exists,
      entries: found.map(comparable).toSorted(byName),
      last: found.at(-1)?.name,
      manifest: settled(found.at(-1)?.text ?? ''),
    },
    leftovers: readdirSync(dirname(target)).filter((name) => name.endsWith('.tmp')),
  };
}

function expected({ response, produced }: RecordedArchiving): Archiving {
  const outcome = { exitCode: response.exitCode, complaint: lastLine(response.stderr), leftovers: [] };
  if (produced === undefined) return outcome;
  const { exists, format, entries = [], manifestText = '' } = produced;
  if (!exists) return { ...outcome, archive: { exists, entries: [], manifest: '' } };
  // The archiver packs in the order in which the file system lists its copies; only the manifest has a place.
  const listedEntries = entries.map((entry) =>
    comparable(format === 'zip' ? entry : { ...entry, compress_type: undefined }),
  );
  return {
    ...outcome,
    archive: {
      exists,
      entries: listedEntries.toSorted(byName),
      last: entries.at(-1)?.name,
      manifest: settled(manifestText),
    },
  };
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
