import { setTimeout } from 'node:timers/promises';

/** What batch_handler.py of TorchServe's recordings does, in JavaScript: the size of the batch, and the place in it. */
export async function handle(requests) {
  await setTimeout(200);
  return requests.map(({ body }, index) => ({
    batch: requests.length,
    index,
    name: body instanceof Uint8Array ? new TextDecoder().decode(body) : (body ?? null),
  }));
}
