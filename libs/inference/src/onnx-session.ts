import { createRequire } from 'node:module';
import type * as Ort from 'onnxruntime-node';
import type * as Native from 'onnxruntime-node/dist/binding.js';
import { MarlineError, isDType, type Tensor, type TensorMetadata, type Tensors } from '#libs/common';
import { loadFailure, runFailure } from './onnx-errors.js';
import { sessionOptions } from './session-options.js';
import type { SessionPlan } from './worker-model.js';

/** Wraps every call into native code; in a worker it is the host's `native`, so that no thread is ended inside one. */
export type NativeCall = <T>(call: () => T) => T;

const require = createRequire(import.meta.url);

/**
 * One open ONNX session. Its calls block the thread that they are made on, so it belongs into a worker or a child process.
 *
 * It talks to the add-on of `onnxruntime-node` itself: the package's own `run()` takes a turn of the event loop and six promises for each
 * run, which cost as much as a very small model (docs/decisions/0011).
 */
export class OnnxSession {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** Asks the add-on for every output, in memory of its own: it would fill ours and return a copy all the same. */
  readonly #fetches: Record<string, null>;

  private constructor(
    private readonly ort: typeof Ort,
    private readonly session: Native.Binding.InferenceSession,
    private readonly native: NativeCall,
  ) {
    this.inputs = session.inputMetadata.map((value) => toMetadata('input', value));
    this.outputs = session.outputMetadata.map((value) => toMetadata('output', value));
    this.#fetches = Object.fromEntries(this.outputs.map(({ name }) => [name, null]));
  }

  /**
   * Opens the model at `plan.path`. Never from bytes: then external data would be looked up in the working directory, and a
   * hostile model could return the application's files as its output.
   * @param options replaces the options that follow from the plan
   * @throws MarlineError `MODEL_INVALID`, also for models whose inputs or outputs are no tensors; `OUT_OF_RESOURCES`
   */
  static open(plan: SessionPlan, native: NativeCall, options = sessionOptions(plan)): OnnxSession {
    // Required here and not above, so that workers without a model never load ONNX Runtime; an add-on's start is native code too.
    const { ort, binding } = native(loadOnnxRuntime);
    const session = native(() => new binding.InferenceSession());
    try {
      native(() => session.loadModel(plan.path, options));
    } catch (error) {
      throw loadFailure(error);
    }
    try {
      return new OnnxSession(ort, session, native);
    } catch (error) {
      native(() => session.dispose());
      throw error;
    }
  }

  /**
   * Runs the model once. The outputs own their buffers and may be transferred. What does not fit the model is refused in ONNX
   * Runtime's words; inputs that the model does not have are ignored.
   * @throws MarlineError `INVALID_INPUT` when the tensors do not fit the model, `PREDICTION_FAILED` when the run fails,
   * `OUT_OF_RESOURCES`
   */
  run(tensors: Tensors): Tensors {
    const feeds: Record<string, Ort.Tensor> = {};
    for (const { name } of this.inputs) {
      const given = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
      if (given === undefined)
        throw new MarlineError('INVALID_INPUT', { reason: `The input "${name}" is missing.` });
      feeds[name] = this.#toOrt(name, given);
    }
    let outputs: Readonly<Record<string, Ort.OnnxValue>>;
    try {
      outputs = this.native(() => this.session.run(feeds, this.#fetches, {}));
    } catch (error) {
      throw runFailure(error);
    }
    const results: Record<string, Tensor> = {};
    for (const { name } of this.outputs) results[name] = fromOrt(outputs[name]);
    return results;
  }

  /** Gives the model's memory back; the session is unusable afterwards. */
  release(): void {
    this.native(() => this.session.dispose());
  }

  #toOrt(name: string, { dtype, shape, data }: Tensor): Ort.Tensor {
    try {
      if (dtype === 'float16') {
        // Where JavaScript has a Float16Array, ONNX Runtime insists on one and then cannot read it natively.
        const bits = new this.ort.Tensor('uint16', data as Uint16Array, shape);
        return Object.defineProperty(bits, 'type', { value: 'float16' });
      }
      return new this.ort.Tensor(dtype, data, shape);
    } catch (error) {
      throw new MarlineError(
        'INVALID_INPUT',
        { reason: `The data of input "${name}" does not fit its shape [${shape.join()}].` },
        { cause: error },
      );
    }
  }
}

function loadOnnxRuntime() {
  const ort = require('onnxruntime-node') as typeof Ort;
  const { binding, initOrt } = require('onnxruntime-node/dist/binding.js') as typeof Native;
  initOrt();
  return { ort, binding };
}

/** Element types by their number in ONNX's `TensorProto.DataType`. */
const ELEMENT_TYPES: readonly string[] = [
  'undefined',
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
  'complex64',
  'complex128',
  'bfloat16',
];

function toMetadata(role: 'input' | 'output', value: Native.Binding.ValueMetadata): TensorMetadata {
  if (!value.isTensor) {
    const reason =
      `The model's ${role} "${value.name}" is a sequence or a map; only tensors can be served. ` +
      'Export the model so that it gives plain tensors (for scikit-learn models: without ZipMap).';
    throw new MarlineError('MODEL_INVALID', { reason });
  }
  const dtype = ELEMENT_TYPES[value.type] ?? `number ${value.type} of ONNX`;
  if (!isDType(dtype)) {
    const reason = `The model's ${role} "${value.name}" has elements of type ${dtype}, which cannot be served; cast it inside the model.`;
    throw new MarlineError('MODEL_INVALID', { reason });
  }
  const shape = value.shape.map((size, axis) =>
    size === -1 ? (value.symbolicDimensions[axis] ?? '') : size,
  );
  return { name: value.name, dtype, shape };
}

function fromOrt(output: Ort.OnnxValue | undefined): Tensor {
  const { type, dims, data } = output as Ort.Tensor;
  if (!isDType(type))
    throw new MarlineError('MODEL_INVALID', {
      reason: `The model gave a tensor of type ${type}, which cannot be served.`,
    });
  const shape = dims.slice();
  if (type !== 'float16' || data instanceof Uint16Array) return { dtype: type, shape, data };
  const halves = data as unknown as ArrayBufferView<ArrayBuffer>;
  return {
    dtype: type,
    shape,
    data: new Uint16Array(halves.buffer, halves.byteOffset, halves.byteLength / 2),
  };
}
