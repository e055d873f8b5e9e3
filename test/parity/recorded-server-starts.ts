import { readFileSync } from 'node:fs';

/** A run of `torchserve` with its output. */
export interface CommandRecord {
  readonly name: string;
  readonly request: { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string>> };
  readonly response: { readonly exitCode: number; readonly stdout: string; readonly stderr: string };
}

/** What a server with some `--models` served, by `GET /models`; `null` when it ended. */
export interface ModelsRecord {
  readonly name: string;
  readonly request: { readonly argv: readonly string[]; readonly default_workers_per_model: string };
  readonly running: boolean;
  readonly list: string | null;
}

/** What became of a server with one more line in its configuration. */
export interface ConfigurationRecord {
  readonly name: string;
  readonly properties: Readonly<Record<string, string>>;
  readonly running: boolean;
  readonly logErrors: readonly string[];
}

/** The files of snapshots after a step, and the newest of them. */
export interface SnapshotRecord {
  readonly name: string;
  readonly fileNames: readonly string[];
  readonly newest: readonly { readonly text: string }[];
}

/** What a start without a named configuration brought back. */
export interface RestartRecord {
  readonly name: string;
  readonly list: string;
  readonly describe: string;
}

interface AnyRecord {
  readonly name: string;
  readonly kind: string;
}

/** Records of another part: TLS, unix sockets, files of the log, the lines of the workers. */
const ELSEWHERE = /^(?:tls-|unix-|plain-http|log-files|console-|conf-https)/;

const lines = readFileSync(new URL('goldens/server.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n');
const records = lines
  .map((line) => JSON.parse(line) as AnyRecord)
  .filter(({ name }) => !ELSEWHERE.test(name));

const named = <T>(pattern: RegExp) => records.filter(({ name }) => pattern.test(name)) as T[];

/** Every run of the command by itself, in its order. */
export const COMMANDS = records.filter(({ kind }) => kind === 'cli') as unknown as CommandRecord[];
export const MODELS = named<ModelsRecord>(/^models-(?!without-value)/);
export const CONFIGURATIONS = named<ConfigurationRecord>(/^conf-/);
export const SNAPSHOTS = named<SnapshotRecord>(/^snapshot-/);
export const RESTART = named<RestartRecord>(/^restart-from-snapshot$/)[0]!;
const [STARTUP] = named<{ readonly stdout: readonly string[] }>(/^startup-output$/);

/** Of a start in the background, its lines and its end: they are replayed together. */
const LIFECYCLE = /^(?:start-background|after-stop|startup-output|stop-lines)$/;
const replayed = new Set(
  [...COMMANDS, ...MODELS, ...CONFIGURATIONS, ...SNAPSHOTS, RESTART].map(({ name }) => name),
);
/** Names of the records that no list of these has. */
export const FORGOTTEN = records
  .map(({ name }) => name)
  .filter((name) => !replayed.has(name) && !LIFECYCLE.test(name));

/** Each line of a start that says something about the server, without its time and logger. */
export const STARTUP_LINES = STARTUP!.stdout
  .map((line) => line.replace(/^\d{4}-\S+ \[.*? - /, ''))
  .filter((line) => /^[A-Z][\w ]*: \S|^Initialize|^Model server/.test(line) && !line.startsWith('WARNING'));

/** The last line of an output, in the words of this command. */
export function inOurWords(output: string): string {
  const line = output.trim().split('\n').at(-1) ?? '';
  return line
    .replace(/^torchserve: error: /, '')
    .replaceAll('torchserve --stop', 'marline serve --stop')
    .replaceAll('TorchServe', 'Marline');
}
