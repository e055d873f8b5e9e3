import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { freeBuffer } from './free-buffer.js';

it('empties a buffer and gives its memory back within the call, at any time', async () => {
  for (let time = 0; time < 3; time++) {
    const view = new Uint8Array(50_000_000).fill(1);
    const held = process.memoryUsage().arrayBuffers;
    freeBuffer(view.buffer);
    expect(view.byteLength).toBe(0);
    expect(held - process.memoryUsage().arrayBuffers).toBeGreaterThan(40_000_000);
    await turn();
  }
});
