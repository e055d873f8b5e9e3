import { parentPort, workerData } from 'node:worker_threads';
import { pacerMemory } from './pacer.js';

const { orders, due } = pacerMemory(workerData as SharedArrayBuffer);
let done = 0;
for (;;) {
  const order = Atomics.load(orders, 0);
  if (order < 0) break;
  const left = order === done ? Infinity : (due[0] ?? 0) - (performance.timeOrigin + performance.now());
  // A new order ends the wait.
  if (left > 0) {
    Atomics.wait(orders, 0, order, left);
  } else {
    done = order;
    parentPort?.postMessage(order);
  }
}
