import { afterEach, describe, expect, it } from 'vitest';
import { SpareThread } from '#libs/pool';
import { ScriptWorkers, ask, entry } from './worker-kinds.js';

const workers = new ScriptWorkers();
afterEach(() => workers.end());

const takesOutput = true;

describe.each(['thread', 'process'] as const)('what the code of a %s prints', (kind) => {
  it('is told by line, when somebody takes it', async () => {
    const { worker } = await workers.start(kind, {}, { takesOutput });
    await ask(worker, 'print one', 'print two');
    await expect.poll(() => workers.logs).toHaveLength(4);
    // The two streams are independent of each other.
    expect(workers.logs.filter((line) => line.startsWith('log'))).toEqual([
      'log said one',
      'log last wordssaid two',
    ]);
    expect(workers.logs.filter((line) => line.startsWith('warn'))).toEqual([
      'warn warned of one',
      'warn warned of two',
    ]);
    await worker.stop();
    expect(workers.logs.slice(4)).toEqual(['log last words']);
  });

  it('is told to nobody who does not ask for it', async () => {
    const { worker } = await workers.start(kind);
    await ask(worker, 'print one');
    await worker.stop();
    expect(workers.logs).toEqual([]);
  });

  it('is told or counted to its last word, also when it is much', async () => {
    const { worker } = await workers.start(kind, {}, { takesOutput });
    await ask(worker, ...Array.from({ length: 300 }, (_, index) => `print ${index}`));
    await worker.stop();
    const left = /^warn printed (\d+) lines more than are passed on in a second$/;
    const told = workers.logs.filter((line) => !left.test(line));
    const leftOut = workers.logs.reduce((sum, line) => sum + Number(left.exec(line)?.[1] ?? 0), 0);
    // Its last words have no end of line, and are a line all the same.
    expect(told.length + leftOut).toBe(601);
  });

  it('is told of a worker that dies', async () => {
    const { worker } = await workers.start(kind, {}, { takesOutput });
    await ask(worker, 'print one', 'exit 3');
    await expect.poll(() => workers.exits).toHaveLength(1);
    expect(workers.logs.toSorted()).toEqual(['log last words', 'log said one', 'warn warned of one']);
  });
});

it('is told of a spare thread by the worker that takes it', async () => {
  const spare = new SpareThread({ entry, takesOutput });
  const { worker } = await workers.start('thread', {}, { spare, takesOutput });
  await ask(worker, 'print one');
  await expect.poll(() => workers.logs).toContain('log said one');
});
