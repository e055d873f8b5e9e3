import { asData } from './comparison.js';
import { DIFFERENCES, type Difference } from './differences.js';
import { AS_RECORDED, lookup, type Comparison } from './replay.js';

const of = (run: string, ...names: string[]) => names.map((name) => `${run}/${name}`);

/** Where a handler in JavaScript is answered otherwise than the same in Python, beside what differs for both; {@link Difference} has the rules. */
export const JAVASCRIPT_DIFFERENCES: readonly Difference[] = [
  {
    reason: 'Wrong input is the fault of the caller: 400, and the text says what was expected.',
    records: of('inference-onnx', 'tab-bad-shape', 'img-not-image'),
  },
  {
    reason: 'A request that cannot be read fails alone, and not the batch that it is in.',
    records: of('inference-onnx', 'img-bad-batch-a', 'img-bad-batch-b'),
  },
  {
    reason: 'NaN is no JSON: it is not read, and is null in an answer.',
    records: of('inference-main', 'echo-json-nan', 'misc-nan'),
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
    reason:
      'A version whose handler nobody can run has no worker; in Python that shows when a worker starts.',
    records: of('management-main', 'describe-bad-handler'),
  },
];

/** Compares answers as data instead of text. */
export const AS_DATA: Comparison = {
  ...AS_RECORDED,
  read: asData,
  differenceAt: lookup([...DIFFERENCES, ...JAVASCRIPT_DIFFERENCES]),
};
