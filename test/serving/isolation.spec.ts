import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mlpInput, openRegistry, predict, type OpenRegistry } from '../support/open-registry.js';

let open: OpenRegistry;
beforeEach(async () => {
  open = await openRegistry();
});
afterEach(() => open.close());

async function register(modelName: string, marline: string, handler = 'tensor', initialWorkers = 1) {
  const configFile = join(open.cacheDir, '..', `${modelName}.yaml`);
  await writeFile(configFile, `marline: { ${marline} }`);
  const serializedFile = handler === 'tensor' ? 'models/mlp.onnx' : undefined;
  await open.pack({ modelName, handler, runtime: 'node', configFile, serializedFile });
  return open.registry.register({ url: `${modelName}.mar`, initialWorkers, synchronous: true });
}

describe('a model', () => {
  it('gives the same answer in a thread, in a process and on the main thread', async () => {
    const answers: unknown[] = [];
    for (const isolation of ['thread', 'process', 'none']) {
      await register(isolation, `isolation: ${isolation}`);
      answers.push(await predict(open.registry, isolation, mlpInput()));
    }
    expect(answers[0]).toHaveProperty('logits');
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });

  it('has a process for each worker where it says process', async () => {
    const runtime = await register('apart', 'isolation: process', 'tensor', 2);
    const pids = runtime.workers().map(({ pid }) => pid);
    expect(new Set([...pids, process.pid]).size).toBe(3);
  });

  it('has one worker in this process where it says none, however many are asked for', async () => {
    const runtime = await register('here', 'isolation: none', 'tensor', 3);
    expect(runtime.workers().map(({ pid }) => pid)).toEqual([process.pid]);
    await runtime.scale(2, 5);
    expect(runtime.workers()).toHaveLength(1);
  });
});

describe('a worker process', () => {
  it('that is killed costs its own request alone, and is replaced', async () => {
    const runtime = await register('faulty', 'isolation: process', 'handlers/faulty_handler.mjs', 2);
    const killed = predict(open.registry, 'faulty', 'never');
    const fine = predict(open.registry, 'faulty', 'nothing');
    const [first] = runtime.workers();
    await fine;
    process.kill(first?.pid ?? 0, 'SIGKILL');
    await expect(killed).rejects.toMatchObject({ code: 'OUT_OF_RESOURCES' });
    expect(await predict(open.registry, 'faulty', 'nothing')).toEqual({ fine: true });
  });
});
