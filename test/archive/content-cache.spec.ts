import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContentCache } from '#libs/archive';
import { bundled } from '../support/built.js';

const script = fileURLToPath(bundled(new URL('cache-holder.worker.ts', import.meta.url)));

let dir: string;
let children: ChildProcess[];

/** Starts a process that holds `key`; resolves with what it says, line by line. */
function holder(key: string, then = 'hold') {
  const child = spawn(process.execPath, [script, dir, key, then], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const said: Record<string, unknown>[] = [];
  const held = new Promise<string>((resolve) => {
    lines.on('line', (line) => {
      said.push(JSON.parse(line) as Record<string, unknown>);
      const last = said.at(-1)?.['held'];
      if (typeof last === 'string') resolve(last);
    });
  });
  return { child, held, said, ended };
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

const parts = async () => ({
  entries: await readdir(join(dir, 'entries')),
  staging: await readdir(join(dir, 'staging')),
  trash: await readdir(join(dir, 'trash')),
});
const EMPTY = { entries: [], staging: [], trash: [] };
const neverBuild = () => Promise.reject(new Error('it was built again'));

beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), 'marline-cache-')), 'cache');
  children = [];
});

afterEach(async () => {
  await Promise.all(
    children.filter((child) => child.exitCode === null && child.signalCode === null).map(kill),
  );
  await rm(join(dir, '..'), { recursive: true, force: true });
});

describe('a content cache of several processes', () => {
  it('keeps a folder until the last process gives it back', async () => {
    const other = holder('key');
    const path = await other.held;
    const cache = new ContentCache(dir);
    const held = await cache.acquire('key', neverBuild);
    expect(held.dir).toBe(path);
    await held.release();
    expect(await readFile(join(path, 'whole'), 'utf8')).toBe(String(other.child.pid));
    other.child.stdin?.write('go\n');
    await other.ended;
    expect(await parts()).toEqual(EMPTY);
  });

  it('leaves one folder when many build at once, and none when all are done', async () => {
    const all = Array.from({ length: 4 }, () => holder('key'));
    const paths = await Promise.all(all.map((each) => each.held));
    expect(new Set(paths).size).toBe(1);
    expect(await parts()).toEqual({ entries: ['key'], staging: [], trash: [] });
    const built = await readFile(join(paths[0]!, 'whole'), 'utf8');
    expect(await readFile(join(paths[0]!, 'part'), 'utf8')).toBe(built);
    for (const { child } of all) child.stdin?.write('go\n');
    await Promise.all(all.map((each) => each.ended));
    expect(await parts()).toEqual(EMPTY);
  });

  it('never loses what is held while others hold, give back and sweep', async () => {
    const all = Array.from({ length: 3 }, () => holder('key', 'churn'));
    const cache = new ContentCache(dir);
    let running = true;
    const ended = Promise.all(all.map((each) => each.ended)).finally(() => (running = false));
    while (running) await cache.sweep();
    await ended;
    expect(all.map(({ said }) => said)).toEqual(all.map(() => [{ held: 'nothing', lost: [] }]));
    expect(await parts()).toEqual(EMPTY);
  });

  it('sweeps the folder of a killed process, but not that of a living one', async () => {
    const [dead, alive] = [holder('dead'), holder('alive')];
    await Promise.all([dead.held, alive.held]);
    await kill(dead.child);
    await new ContentCache(dir).sweep();
    expect(await parts()).toEqual({ entries: ['alive'], staging: [], trash: [] });
    expect(await readdir(await alive.held)).toEqual(['part', 'whole']);
  });

  it('sweeps what a process was building when it was killed, and never takes it for complete', async () => {
    const dead = holder('key', 'die-building');
    await dead.ended;
    expect((await parts()).staging).toHaveLength(1);
    const cache = new ContentCache(dir);
    const held = await cache.acquire('key', (staging) => writeFile(join(staging, 'whole'), 'mine'));
    expect(await readdir(held.dir)).toEqual(['whole']);
    await cache.sweep();
    expect(await parts()).toEqual({ entries: ['key'], staging: [], trash: [] });
    await held.release();
  });

  it('lets the last living holder remove what a killed one held too', async () => {
    const [dead, alive] = [holder('key'), holder('key')];
    await Promise.all([dead.held, alive.held]);
    await kill(dead.child);
    alive.child.stdin?.write('go\n');
    await alive.ended;
    expect(await parts()).toEqual(EMPTY);
  });

  it('takes a recycled process id for dead, a process of another machine for alive', async () => {
    const other = holder('key');
    const leases = join(await other.held, '..', 'leases');
    const [name = ''] = await readdir(leases);
    const [host, pid, start, id] = name.split('.');
    await kill(other.child);
    await rm(join(leases, name));
    await writeFile(join(leases, `00000000.${pid}.${start}.${id}`), '');
    await new ContentCache(dir).sweep();
    expect(await parts()).toEqual({ entries: ['key'], staging: [], trash: [] });
    await rm(leases, { recursive: true });
    await mkdir(leases);
    await writeFile(join(leases, `${host}.${process.pid}.${start}.${id}`), '');
    await new ContentCache(dir).sweep();
    expect(await parts()).toEqual(EMPTY);
  });

  it('recovers a folder whose remover was killed between its two steps', async () => {
    await mkdir(join(dir, 'entries/key/content-0123'), { recursive: true });
    await mkdir(join(dir, 'trash/half'), { recursive: true });
    const cache = new ContentCache(dir);
    const held = await cache.acquire('key', (staging) => writeFile(join(staging, 'new'), ''));
    expect(await readdir(held.dir)).toEqual(['new']);
    await held.release();
    await mkdir(join(dir, 'entries/key/content-0123'), { recursive: true });
    await cache.sweep();
    expect(await parts()).toEqual(EMPTY);
  });
});
