import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatIdentity, isAlive, parseIdentity, thisProcess } from './process-identity.js';

describe('the identity of a process', () => {
  it('is written as the start of a file name and read back', () => {
    expect(parseIdentity(`${formatIdentity(thisProcess())}.more`)).toEqual(thisProcess());
    expect(parseIdentity('123')).toBeUndefined();
  });

  it('is alive only with the start time of the process that has the id now', () => {
    expect(isAlive(thisProcess())).toBe(true);
    expect(isAlive({ ...thisProcess(), start: 'another-1' })).toBe(false);
    expect(isAlive({ ...thisProcess(), host: '00000000', start: 'another-1' })).toBe(true);
  });

  it.runIf(process.platform === 'linux')('has ended when nobody asked for its end', async () => {
    // The shell becomes a program that knows nothing of the child that it inherits.
    const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(line.toString());
      const [boot] = thisProcess().start.split('-');
      const ticks = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19];
      const child = { ...thisProcess(), pid, start: `${boot}-${ticks}` };
      await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain(') Z ');
      expect(isAlive(child)).toBe(false);
    } finally {
      parent.kill();
    }
  });
});
