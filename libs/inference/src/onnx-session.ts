import type * as Ort from 'onnxruntime-node';
import { MarlineError, isDType, type Tensor, type TensorMetadata, type Tensors } from '#libs/common';
import { loadFailure, runFailure } from './onnx-errors.js';
import { sessionOptions } from './session-options.js';
import type { SessionPlan } from './worker-model.js';

/** Wraps every call into native code; in a worker it is the host's `native`, so that no thread is ended inside one. */
export type NativeCall = <T>(call: () => Promise<T>) => Promise<T>;

/** One open ONNX session. A call blocks the thread that it is made on, so it belongs into a worker or a child process. */
export class OnnxSession {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];

  private constructor(
    private readonly ort: typeof Ort,
    private readonly session: Ort.InferenceSession,
    private readonly native: NativeCall,
  ) {
    this.inputs = session.inputMetadata.map((value) => toMetadata('input', value));
    this.outputs = session.outputMetadata.map((value) => toMetadata('output', value));
  }

  /**
   * Opens the model at `plan.path`. Never from bytes: then external data would be looked up in the working directory, and a
   * hostile model could return the application's files as its output.
   * @param options replaces the options that follow from the plan
   * @throws MarlineError `MODEL_INVALID`, also for models whose inputs or outputs are no tensors; `OUT_OF_RESOURCES`
   */
  static async open(
    plan: SessionPlan,
    native: NativeCall,
    options = sessionOptions(plan),
  ): Promise<OnnxSession> {
    // Imported here and not above, so that workers without a model never load ONNX Runtime; an add-on's start is native code too.
    const ort = await native(() => import('onnxruntime-node'));
    let session: Ort.InferenceSession | undefined;
    try {
      session = await native(() => ort.InferenceSession.create(plan.path, options));
      return new OnnxSession(ort, session, native);
    } catch (error) {
      const opened = session;
      if (opened !== undefined) await native(() => opened.release());
      throw loadFailure(error);
    }
  }

  /**
   * Runs the model once. The outputs own their buffers and may be transferred. What does not fit the model is refused in ONNX
   * Runtime's words; inputs that the model does not have are ignored.
   * @throws MarlineError `INVALID_INPUT` when the tensors do not fit the model, `PREDICTION_FAILED` when the run fails,
   * `OUT_OF_RESOURCES`
   */
  async run(tensors: Tensors): Promise<Tensors> {
    const feeds: Record<string, Ort.Tensor> = {};
    for (const { name } of this.inputs) {
      const given = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
      if (given !== undefined) feeds[name] = this.#toOrt(name, given);
    }
    try {
      // Outputs are not preallocated: ONNX Runtime would fill ours and return a copy all the same.
      const outputs = await this.native(() => this.session.run(feeds));
      const results: Record<string, Tensor> = {};
      for (const { name } of this.outputs) results[name] = fromOrt(outputs[name]);
      return results;
    } catch (error) {
      throw runFailure(error);
    }
  }

  /** Gives the model's memory back; the session is unusable afterwards. */
  release(): Promise<void> {
    return this.native(() => this.session.release());
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

function toMetadata(role: 'input' | 'output', value: Ort.InferenceSession.ValueMetadata): TensorMetadata {
  if (!value.isTensor) {
    const reason =
      `The model's ${role} "${value.name}" is a sequence or a map; only tensors can be served. ` +
      'Export the model so that it gives plain tensors (for scikit-learn models: without ZipMap).';
    throw new MarlineError('MODEL_INVALID', { reason });
  }
  if (!isDType(value.type)) {
    const reason = `The model's ${role} "${value.name}" has elements of type ${value.type}, which cannot be served; cast it inside the model.`;
    throw new MarlineError('MODEL_INVALID', { reason });
  }
  return { name: value.name, dtype: value.type, shape: [...value.shape] };
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
