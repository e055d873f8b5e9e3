import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { serialize } from 'node:v8';
import { afterEach, describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { bundled } from '../support/built.js';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import { ScriptWorkers, ask, entry } from './worker-kinds.js';

const workers = new ScriptWorkers();
const { exits } = workers;
const isLinux = process.platform === 'linux';

afterEach(() => workers.end());

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** A message of these values, as a hostile handler writes it to the socket. */
function toHex(values: readonly unknown[]): string {
  const bytes = serialize(values);
  return Buffer.concat([Buffer.from(Uint32Array.of(bytes.byteLength, 0, 0).buffer), bytes]).toString('hex');
}

const openFiles = () => readdirSync('/proc/self/fd').length;
const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();

describe('a worker process', () => {
  it('is a process of its own, named after the worker', async () => {
    const { worker, info } = await workers.start('process', {}, { name: 'W-9000-fraud_1.0' });
    expect(info.pid).not.toBe(process.pid);
    expect([worker.pid, info.threadId]).toEqual([info.pid, 0]);
    if (isLinux) expect([info.title, info.priority]).toEqual(['W-9000-fraud_1.0', 10]);
  });

  it('sees no environment but what it is given', async () => {
    process.env['MARLINE_TEST_SECRET'] = 'secret';
    try {
      const { info } = await workers.start('process');
      expect(info.env).not.toContain('MARLINE_TEST_SECRET');
      expect(info.env).not.toContain('PATH');
      expect((await workers.start('process', {}, { env: { ONLY: 'this' } })).info.env).toEqual(['ONLY']);
    } finally {
      delete process.env['MARLINE_TEST_SECRET'];
    }
  });

  it.runIf(isLinux)('leaves no process and no open file behind, however it ends', async () => {
    const before = openFiles();
    for (const action of ['stop', 'exit 1', 'signal SIGSEGV', 'kill']) {
      const { worker } = await workers.start('process');
      const { pid } = worker;
      if (action === 'kill') worker.kill?.();
      else if (action !== 'stop') await ask(worker, action);
      await worker.stop();
      expect(isAlive(pid)).toBe(false);
    }
    await until(() => openFiles() <= before);
    expect(children()).toBe('');
  });
});

describe('the end of a worker process', () => {
  it.each([
    ['exit 3', 'WORKER_DIED', /exit code 3/],
    ['reject', 'WORKER_DIED', /nobody handles this/],
    ['signal SIGSEGV', 'WORKER_DIED', /signal SIGSEGV/],
    ['signal SIGABRT', 'WORKER_DIED', /signal SIGABRT/],
    ['signal SIGKILL', 'OUT_OF_RESOURCES', /signal SIGKILL/],
  ])('by itself (%s) fails what has no answer yet and tells the cause', async (action, code, cause) => {
    const { worker } = await workers.start('process', {}, { memoryLimitMb: 160 });
    const { answers } = await ask(worker, 'first', action, 'third');
    expect(answers).toEqual(['first done', code, code]);
    expect([worker.state, exits.map((error) => error.code)]).toEqual(['stopped', [code]]);
    expect(String(exits[0]?.cause)).toMatch(cause);
  });

  it('at its memory limit fails what has no answer yet and names the limit or the lack of memory', async () => {
    const { worker } = await workers.start('process', {}, { memoryLimitMb: 160 });
    const { answers } = await ask(worker, 'first', 'fill', 'third');
    // V8 says that it is out of memory, or crashes when the system refuses it a page.
    expect(['OUT_OF_RESOURCES', 'WORKER_DIED']).toContain(answers[1]);
    expect(answers).toEqual(['first done', answers[1], answers[1]]);
    expect(String(exits[0]?.cause)).toMatch(/memory|bad_alloc/);
  });

  it('in the tick of a large answer does not lose it', async () => {
    const { worker } = await workers.start('process');
    const { answers } = await ask(worker, 'long 3000000', 'exit 0');
    expect(answers.map((answer) => answer?.length)).toEqual([3_000_000, 'WORKER_DIED'.length]);
  });

  it.each(['loop', 'native 60000'])(
    'comes at once when it is quarantined inside of what never ends (%s)',
    async (action) => {
      const { worker } = await workers.start('process');
      const { pid } = worker;
      const sink = new CollectingSink();
      const item = textItem(action);
      const finished = worker.run([item], sink);
      await sleep(100);
      const ended = worker.quarantine(new MarlineError('WORKER_DIED'));
      expect([worker.state, sink.answer(item.id)]).toEqual(['quarantined', 'WORKER_DIED']);
      await ended;
      await finished;
      expect([worker.state, isAlive(pid), exits]).toEqual(['stopped', false, []]);
    },
  );

  it('comes although a handler left a timer behind', async () => {
    const { worker } = await workers.start('process', { leavesTimer: true });
    await worker.stop();
    expect(worker.state).toBe('stopped');
  });

  it.each([
    ['lengths without end', 'ffffffffffffffffffffffff'],
    ['values that are none', '040000000000000000000000deadbeef'],
    ['a message of no kind', toHex([99, 0, 0])],
    ['an event of no kind', toHex([12, 0, 0, 99])],
    ['an answer without a body', toHex([12, 0, 0, 21, 0, 200])],
    ['a nameless error', toHex([12, 0, 0, 22, 0, 0, 0, 0])],
  ])('comes to one that sends %s, and costs nobody else', async (_what, bytes) => {
    const { worker: other } = await workers.start('process');
    const { worker } = await workers.start('process');
    const { answers } = await ask(worker, `garbage ${bytes}`);
    expect(answers).toEqual(['WORKER_DIED']);
    await until(() => exits.length === 1);
    expect(exits[0]?.code).toBe('WORKER_DIED');
    expect((await ask(other, 'hello')).answers).toEqual(['hello done']);
  });

  it.runIf(isLinux)('comes when the one it works for is gone', async () => {
    const script = bundled(new URL('./fixtures/parent.worker.ts', import.meta.url));
    const parent = spawn(process.execPath, [fileURLToPath(script), entry.href], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [pid] = (await once(parent.stdout.setEncoding('utf8'), 'data')) as [string];
    expect(isAlive(Number(pid))).toBe(true);
    parent.kill('SIGKILL');
    await until(() => !isAlive(Number(pid)));
  });
});

describe('the memory limit of a worker process', () => {
  it.runIf(isLinux)('bounds native memory, so that an allocation fails instead of the machine', async () => {
    const { worker } = await workers.start('process', {}, { memoryLimitMb: 512 });
    const { answers } = await ask(worker, 'allocate 64', 'allocate 2048', 'after');
    expect(answers).toEqual(['64 MB', 'INTERNAL', 'after done']);
  });

  it('is refused when Node.js itself would not fit', async () => {
    const worker = workers.make('process', { memoryLimitMb: 32 });
    expect(await worker.start({ load: 'ok' })).toMatchObject({
      kind: 'permanent',
      error: { code: 'OPTIONS_INVALID', message: expect.stringMatching(/memoryLimitMb/) as unknown },
    });
    expect(worker.state).toBe('stopped');
  });
});
