const sums = new Map();

/** What stateful_handler.py of TorchServe's recordings does, in JavaScript: the sum of the numbers of each sequence. */
export function handle(requests, context) {
  return requests.map(({ data, body }, index) => {
    const sequence = context.getSequenceId(index);
    const sum = (sums.get(sequence) ?? 0) + numberIn(data ?? body);
    sums.set(sequence, sum);
    if (context.getRequestHeader(index, 'ts_request_sequence_end') !== undefined) sums.delete(sequence);
    return String(sum);
  });
}

function numberIn(value = '') {
  return Number(value instanceof Uint8Array ? new TextDecoder().decode(value) : value);
}
