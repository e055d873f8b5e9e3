import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { messageOf, type Tensor, type TensorMetadata, type Tensors } from '#libs/common';
import { OnnxSession } from './onnx-session.js';
import type { ProbeReport, ProbeRequest } from './model-probe.js';
import { sampleInputs } from './sample-inputs.js';
import { SHARED_FILES, sharingOptions } from './session-options.js';
import type { SessionPlan } from './worker-model.js';

/** Two forms of one model may round differently by this much of the largest value. */
const TOLERANCE = 1e-4;

interface Trial {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** `undefined` when the model takes none of the samples. */
  readonly answer: Tensors | undefined;
}

/**
 * Loads a model and runs it once with made-up inputs; a model that refuses them is not a bad model. With `shareInto` that load writes
 * its optimised form there, which is dropped again unless it takes the same inputs and gives the same answer.
 * @throws MarlineError `MODEL_INVALID`, `OUT_OF_RESOURCES`
 */
export async function loadReport({
  path,
  intraOpThreads,
  shareInto,
}: Extract<ProbeRequest, { step: 'load' }>): Promise<ProbeReport> {
  const plan: SessionPlan = { path, executionProvider: 'cpu', deviceId: null, shared: false, intraOpThreads };
  if (shareInto === undefined) return metadataOf(tryOut(plan));
  const shared = tryShared(plan, shareInto);
  if (typeof shared !== 'string') return metadataOf(shared);
  // What another process may map one day must not be left half written or unused.
  await Promise.all(Object.values(SHARED_FILES).map((name) => rm(join(shareInto, name), { force: true })));
  return { ...metadataOf(tryOut(plan)), unshared: shared };
}

/** The model as it came, once its optimised form is written and does the same; else why that form must not be used. */
function tryShared(plan: SessionPlan, folder: string): Trial | string {
  const path = join(folder, SHARED_FILES.model);
  try {
    const original = tryOut(plan, sharingOptions(path, plan.intraOpThreads));
    if (original.answer === undefined)
      return 'The model takes none of the sample inputs, so the answers of its optimised form cannot be compared.';
    const optimised = tryOut({ ...plan, path, shared: true });
    if (!sameMetadata(original, optimised)) return 'The optimised form has other inputs or outputs.';
    if (optimised.answer === undefined || !sameAnswer(original.answer, optimised.answer))
      return 'The optimised form gives other answers.';
    return original;
  } catch (error) {
    return `The optimised form cannot be used: ${messageOf(error)}`;
  }
}

function metadataOf({ inputs, outputs }: Trial): ProbeReport {
  return { inputs, outputs };
}

function tryOut(plan: SessionPlan, options?: InferenceSession.SessionOptions): Trial {
  const session = OnnxSession.open(plan, directly, options);
  try {
    return { inputs: session.inputs, outputs: session.outputs, answer: firstAnswer(session) };
  } finally {
    session.release();
  }
}

function firstAnswer(session: OnnxSession): Tensors | undefined {
  for (const sample of sampleInputs(session.inputs)) {
    try {
      return session.run(sample);
    } catch {
      // The next sample may suit the model.
    }
  }
  return undefined;
}

const directly = <T>(call: () => T) => call();

function sameMetadata(a: Trial, b: Trial): boolean {
  const signature = ({ inputs, outputs }: Trial) =>
    JSON.stringify(
      [inputs, outputs].map((side) => side.map(({ name, dtype, shape }) => [name, dtype, shape.length])),
    );
  return signature(a) === signature(b);
}

function sameAnswer(a: Tensors, b: Tensors): boolean {
  return Object.entries(a).every(([name, tensor]) => {
    const other = b[name];
    return (
      other !== undefined &&
      other.dtype === tensor.dtype &&
      String(other.shape) === String(tensor.shape) &&
      sameData(tensor, other)
    );
  });
}

function sameData({ dtype, data: a }: Tensor, { data: b }: Tensor): boolean {
  if (dtype !== 'float32' && dtype !== 'float64') return a.every((value, index) => value === b[index]);
  let largest = 0;
  for (const value of a) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(Number(value)));
  return a.every((value, index) => {
    const other = b[index];
    return Object.is(value, other) || Math.abs(Number(value) - Number(other)) <= TOLERANCE * largest;
  });
}
