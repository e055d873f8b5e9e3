import { setTimeout } from 'node:timers/promises';

/** What slow_handler.py of TorchServe's recordings does, in JavaScript: it takes its time to load. */
export async function initialize(context) {
  const { init_sleep: seconds } = context.modelConfig.handler;
  await setTimeout(seconds * 1000);
}

export function handle(requests) {
  return requests.map(() => 'ready');
}
