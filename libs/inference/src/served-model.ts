import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { MarlineError, type ItemResult } from '#libs/common';
import type { ModelRegistry } from './model-registry.js';
import { isPriority, type CancelSignal, type PredictionAnswer, type Priority } from './prediction.js';
import type { SequenceStep } from './sequence-headers.js';

/** How one call is bounded. @publicApi */
export interface PredictOptions {
  /** Cancels the call, as an `AbortSignal` does: it leaves the queue, and rejects with `REQUEST_CANCELLED`. */
  readonly signal?: CancelSignal;
  /** Milliseconds from now, queue and hooks included; then the call rejects with `DEADLINE_EXCEEDED`. Unlimited by default. */
  readonly deadlineMs?: number;
  /** The default version of the model when not given, or the one whose turn it is where its requests are split. */
  readonly version?: string;
  /** Who goes first when requests wait; `normal` by default. */
  readonly priority?: Priority;
  /** Whom the call is for: tenants that wait share the workers evenly, however many calls each makes. */
  readonly tenant?: string;
  /** The sequence that the call is a step of, for a model with `sequenceBatching`; a sequence of its own when not given. */
  readonly sequence?: SequenceStep;
}

/**
 * A model as the application calls it, in process: `constructor(@InjectModel('fraud') private fraud: ServedModel<Order, Risk>)`.
 *
 * A host handler (`@ModelHandler`) gets the input as it is and its `postprocess` value comes back as it is. For a handler in
 * a worker the input is what a client would send: `Tensors` stay tensors (and are handed over: their buffers are gone
 * afterwards), bytes are a binary body, a string is a text body, all else is a JSON body. Its answer comes back as tensors,
 * as a `Buffer`, as a string or as parsed JSON, by what the handler returned; a Python handler's without a content type
 * as whichever of them it looks like.
 *
 * @typeParam Input what the handler's `preprocess` takes
 * @typeParam Output what its `postprocess` returns
 * @publicApi
 */
export class ServedModel<Input = unknown, Output = unknown> {
  constructor(
    /** The name under which it was registered. It may be registered later than this object is made. */
    readonly name: string,
    private readonly registry: Pick<ModelRegistry, 'route'>,
  ) {}

  /**
   * One answer for one input; calls under way at the same time share batches.
   * @throws MarlineError `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND`, `NO_WORKER`, `QUEUE_FULL`, `DEADLINE_EXCEEDED`,
   * `REQUEST_CANCELLED`, `INVALID_INPUT`, `PREDICTION_EXCEPTION` with the status when the handler set one from 400 up or
   * answers in parts, or what else went wrong in the handler or the model
   */
  async predict(input: Input, options: PredictOptions = {}): Promise<Output> {
    const answer = await this.#ask(input, options);
    if (!answer.streaming) return this.#read(answer.result);
    await answer.rest[Symbol.asyncIterator]().return?.();
    throw new MarlineError('PREDICTION_EXCEPTION', {
      reason: `Model ${this.name} answers in parts: read them with stream() instead of predict().`,
    });
  }

  /**
   * The parts of an answer, for handlers that send intermediate responses; any other answer is one part. The handler waits
   * for the reader. Rejects as {@link ServedModel.predict} does, also between two parts.
   */
  async *stream(input: Input, options: PredictOptions = {}): AsyncGenerator<Output, void, undefined> {
    const answer = await this.#ask(input, options);
    if (!answer.streaming) {
      yield this.#read(answer.result);
      return;
    }
    const rest = answer.rest[Symbol.asyncIterator]();
    try {
      yield this.#read(answer.first);
      for (let part = await rest.next(); part.done !== true; part = await rest.next())
        yield this.#read(part.value);
    } finally {
      await rest.return?.();
    }
  }

  #ask(value: Input, { version, ...options }: PredictOptions): Promise<PredictionAnswer> {
    const { priority } = options;
    if (priority !== undefined && !isPriority(priority)) {
      throw new MarlineError('INVALID_INPUT', {
        reason: `The priority of a call is 'high', 'normal' or 'low', not ${JSON.stringify(priority)}.`,
      });
    }
    const runtime = this.registry.route(this.name, version, options.sequence?.id);
    return runtime.predict({ ...options, version, id: randomUUID(), input: { kind: 'value', value } });
  }

  #read({ status, reason, output }: ItemResult): Output {
    const value = valueOf(output);
    if (status < 400) return value as Output;
    const text = typeof value === 'string' ? value : reason;
    throw new MarlineError('PREDICTION_EXCEPTION', {
      reason: `Model ${this.name} answered ${status}${text && `: ${text}`}`,
      status,
    });
  }
}

/** An answer as data: tensors, parsed JSON, a text or bytes. @throws SyntaxError for JSON that is none */
export function valueOf(output: ItemResult['output']): unknown {
  if (output.kind === 'value') return output.value;
  if (output.kind === 'tensors') return output.tensors;
  if (output.kind === 'text') return output.encoding === 'json' ? JSON.parse(output.text) : output.text;
  const bytes = Buffer.from(output.bytes.buffer, output.bytes.byteOffset, output.bytes.byteLength);
  switch (output.encoding) {
    case 'binary':
      return bytes;
    case 'json':
      return JSON.parse(bytes.toString());
    case 'text':
      return bytes.toString();
    case 'unknown':
      return likelyValueOf(bytes);
  }
}

/** JSON where it is some, else a text, else the bytes: a Python handler seldom says which of them it returned. */
function likelyValueOf(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) return bytes;
  const text = bytes.toString();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
