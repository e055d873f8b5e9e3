import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatIdentity, thisProcess } from '#libs/archive';
import { claimPidFile, pidFilePath, readPidFile } from './pid-file.js';
import { stopServer } from './stop-server.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-pid-'));
  path = join(folder, '.model_server.pid');
});
afterEach(() => rmSync(folder, { recursive: true }));

const own = () => `${process.pid}\n${formatIdentity(thisProcess())}\n`;
/** The id of a process that lives, which must not be signalled: this one would end. */
const reused = () => `${process.pid}\n${formatIdentity({ ...thisProcess(), start: 'earlier-1' })}\n`;
const put = (text: string) => writeFileSync(path, text, { mode: 0o600 });

describe('the PID file', () => {
  it('has the process id on its first line, for this user alone, until it is given up', () => {
    const release = claimPidFile(path);
    expect(readFileSync(path, 'utf8')).toBe(own());
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readPidFile(path)).toEqual({ kind: 'running', server: thisProcess() });
    release();
    expect(readPidFile(path)).toEqual({ kind: 'absent' });
  });

  it('is refused to a second server', () => {
    const release = claimPidFile(path);
    expect(() => claimPidFile(path)).toThrow(
      `Marline is already running (process ${process.pid}), please use marline serve --stop to stop it.`,
    );
    release();
  });

  it('is not given up for another one', () => {
    const release = claimPidFile(path);
    put(reused());
    release();
    expect(readFileSync(path, 'utf8')).toBe(reused());
  });

  it.each([
    ['a process that has this id again', reused()],
    ['a process that is gone', '4194999\n'],
    ['nothing', ''],
    ['nonsense', 'rm -rf\n'],
    ['an id of another line than the identity', `1\n${formatIdentity({ ...thisProcess(), start: 'x-1' })}`],
  ])('of %s is an orphan: removed by a stop, taken over by a start', async (_, text) => {
    if (text.startsWith('1\n')) text = text.replace('1\n', '4194998\n');
    put(text);
    expect(await stopServer(path)).toBe('Removing orphan pid file.\nMarline is not currently running.\n');
    expect(existsSync(path)).toBe(false);
    put(text);
    claimPidFile(path)();
    expect(existsSync(path)).toBe(false);
  });

  it.each([
    [
      'of a process that is no server of Marline',
      () => put(`${process.pid}\n`),
      `names process ${process.pid}`,
    ],
    [
      'of a server of another machine',
      () => put(`7\n${formatIdentity({ host: '00000000', pid: 7, start: 'a-1' })}\n`),
      'names a server of another machine or container',
    ],
    [
      'that others can write',
      () => {
        put(own());
        chmodSync(path, 0o666);
      },
      'is no file that you alone can write',
    ],
    [
      'that is a link',
      () => {
        writeFileSync(join(folder, 'elsewhere'), own(), { mode: 0o600 });
        symlinkSync(join(folder, 'elsewhere'), path);
      },
      'cannot be read as a file of yours',
    ],
    ['of any length', () => put(`${own()}${'x'.repeat(2000)}`), 'is no file that you alone can write'],
  ])('%s is left alone, and so is its process', async (_, prepare, reason) => {
    prepare();
    await expect(stopServer(path)).rejects.toThrow(reason);
    expect(() => claimPidFile(path)).toThrow(reason);
    expect(existsSync(path)).toBe(true);
  });

  it('that is not there means that nothing runs', async () => {
    expect(await stopServer(path)).toBe('Marline is not currently running.\n');
  });

  it('lies in the temporary folder, which must be there', () => {
    expect(pidFilePath({})).toBe(join(tmpdir(), '.model_server.pid'));
    expect(() => pidFilePath({ TEMP: '/nonexistent' })).toThrow(
      'Invalid temp directory: /nonexistent, please check TEMP environment variable.',
    );
  });
});
