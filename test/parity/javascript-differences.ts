import type { Difference } from './differences.js';

const of = (run: string, ...names: string[]) => names.map((name) => `${run}/${name}`);

/** Where a handler in JavaScript is answered otherwise than the same in Python, beside what differs for both; {@link Difference} has the rules. */
export const JAVASCRIPT_DIFFERENCES: readonly Difference[] = [
  {
    reason: 'What does not fit its envelope is the fault of the caller: 400 with what the envelope takes.',
    records: [
      ...of('kserve-v1', 'v1-no-instances', 'v1-empty-instances', 'v1-bad-json', 'v1-empty', 'v1-get'),
      ...of('envelope-json', 'json-no-instances', 'text', 'octets', 'form', 'empty'),
      ...of('kserve-v2', 'v2-no-inputs', 'v2-empty', 'v2-get'),
    ],
  },
  {
    reason:
      'Tensors are for the model, unless its handler is a Python one; errors are those of the protocol.',
    records: of('inference-noworker', 'v2-no-worker'),
  },
  {
    reason: 'Wrong input is the fault of the caller: 400, and the text says what was expected.',
    records: of('inference-onnx', 'tab-bad-shape', 'img-not-image'),
  },
  {
    reason: 'A request that cannot be read fails alone, and not the batch that it is in.',
    records: of('inference-onnx', 'img-bad-batch-a', 'img-bad-batch-b'),
  },
  {
    reason: 'A handler without explain says that it gives no explanations: 400.',
    records: of('inference-onnx', 'tab-explain'),
  },
  {
    reason: 'NaN is no JSON: it is not read, and is null in an answer.',
    records: of('inference-main', 'echo-json-nan', 'misc-nan'),
  },
  {
    reason: 'Describe names the runtime of the archive.',
    records: of('errors-single', 'single-get-models_echo'),
  },
  {
    reason: 'max_response_size is for Python workers; the answer of a thread is in memory already.',
    records: of('errors-small', 'response-over-limit'),
  },
  {
    reason: 'Without a worker that can start there is an answer; TorchServe gives none.',
    records: of('envelope-bad', 'predict'),
  },
  {
    reason: 'An exception is no success, whatever status it names.',
    records: of('inference-main', 'misc-pexc-200'),
  },
];
