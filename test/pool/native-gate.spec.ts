import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { ThreadWorker } from '#libs/pool';
import { bundled } from '../support/built.js';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import type { LoopModel } from './fixtures/onnx-loop.worker.js';

/** How often each model is quarantined; MARLINE_GATE_ROUNDS=300 for a thorough run. */
const rounds = Number(process.env['MARLINE_GATE_ROUNDS'] ?? 20);
const ignore = () => {};

describe('a quarantined thread in a tight loop of native runs', () => {
  // Terminated inside such a run, the process of this test would abort: that it goes on is the assertion.
  it.each(['mlp', 'mnist_cnn'])('ends between two runs and leaves the process alive (%s)', async (name) => {
    const path = fileURLToPath(new URL(`../fixtures/models/${name}.onnx`, import.meta.url));
    const entry = bundled(new URL('./fixtures/onnx-loop.worker.ts', import.meta.url));
    for (let round = 0; round < rounds; round += 1) {
      const runs = new Int32Array(new SharedArrayBuffer(4));
      const worker = new ThreadWorker<LoopModel, string>({
        id: round,
        entry,
        events: { exited: ignore, metric: ignore, log: ignore },
        startTimeoutMs: 60_000,
      });
      const starting = worker.start({ path, runs });
      // Some rounds hit the creation of the session.
      if (round % 5 === 4) {
        await sleep(Math.random() * 200);
      } else {
        expect((await starting).kind).toBe('ready');
        const sink = new CollectingSink();
        void worker.run([textItem('a')], sink);
        while (Atomics.load(runs, 0) < 2) await sleep(1);
        await sleep(Math.random() * 30);
        expect(sink.errors.size + sink.results.size).toBe(0);
      }
      await worker.quarantine(new MarlineError('WORKER_DIED'));
      expect(worker.state).toBe('stopped');
    }
  });
});
