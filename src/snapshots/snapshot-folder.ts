import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { escapeKey, escapeValue } from 'properties-file/escape';

/** Why a snapshot was written: the server has started, a change, the server stops. */
export type SnapshotOccasion = 'startup' | 'snapshot' | 'shutdown';

const MOST_FILES = 50;
const FILE = /^\d{17}-(startup|snapshot|shutdown)\.cfg$/;

/** Where log files are, by the variable of TorchServe. */
export function logFolder(environment: Readonly<Record<string, string | undefined>>): string {
  return environment['LOG_LOCATION'] || 'logs';
}

/** Where snapshots are: `config` in the folder of the logs, as in TorchServe. */
export function snapshotFolder(environment: Readonly<Record<string, string | undefined>>): string {
  return join(logFolder(environment), 'config');
}

/** The name of the newest snapshot in a folder; `undefined` when there is none. Other files are passed over. */
export function latestSnapshot(folder: string): string | undefined {
  return snapshotsIn(folder).at(-1);
}

/** The oldest first. */
function snapshotsIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => FILE.test(name))
    .toSorted();
}

/**
 * Writes a snapshot as a file of its own, for this user alone. It is whole or not there.
 * @param content makes the properties, of the file's name and its time in milliseconds since 1970
 * @returns the file's name
 */
export function writeSnapshot(
  folder: string,
  occasion: SnapshotOccasion,
  content: (name: string, created: number) => ReadonlyMap<string, string>,
): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const latest = latestSnapshot(folder);
  // Later by name than all others, whatever the clock does: two changes within a millisecond are two snapshots.
  const created = Math.max(Date.now(), latest === undefined ? 0 : timeOf(latest) + 1);
  const name = `${new Date(created).toISOString().replaceAll(/\D/g, '')}-${occasion}.cfg`;
  const lines = [...content(name, created)].map(
    ([key, value]) => `${escapeKey(key)}=${escapeValue(value, true)}\n`,
  );
  const staging = join(folder, `.${randomBytes(8).toString('hex')}`);
  try {
    writeFileSync(staging, lines.join(''), { flag: 'wx', mode: 0o600, flush: true });
    renameSync(staging, join(folder, name));
    prune(folder);
  } catch (error) {
    rmSync(staging, { force: true });
    throw error;
  }
  return name;
}

/** Old ones tell what was served before, but not for ever. */
function prune(folder: string): void {
  for (const name of snapshotsIn(folder).slice(0, -MOST_FILES)) rmSync(join(folder, name), { force: true });
}

/** What the name of a snapshot says: `yyyyMMddHHmmssSSS`, in UTC. */
function timeOf(name: string): number {
  const [, date = '', hours = '', minutes = '', seconds = '', ms = ''] =
    /^(\d{8})(\d\d)(\d\d)(\d\d)(\d{3})/.exec(name) ?? [];
  const day = date.replace(/^(....)(..)(..)$/, '$1-$2-$3');
  return Date.parse(`${day}T${hours}:${minutes}:${seconds}.${ms}Z`);
}
