import { setTimeout } from 'node:timers/promises';

const sums = new Map();

/** What sequence_handler.py does, in JavaScript. */
export async function handle(requests, context) {
  const bodies = requests.map(({ body }) => body);
  await setTimeout(Math.max(...bodies.map(({ sleep = 0 }) => sleep * 1000)));
  if (bodies.some(({ fail }) => fail)) throw new Error('asked to fail');
  return bodies.map(({ add = 0, over }, index) => {
    const sequence = context.getSequenceId(index);
    const sum = (sums.get(sequence) ?? 0) + add;
    sums.set(sequence, sum);
    if (over !== undefined) context.setResponseHeader(index, 'ts_request_sequence_end', over.join('; '));
    const start = context.getRequestHeader(index, 'ts_request_sequence_start') ?? null;
    const end = context.getRequestHeader(index, 'ts_request_sequence_end') ?? null;
    return { sequence, sum, batch: requests.length, start, end };
  });
}
