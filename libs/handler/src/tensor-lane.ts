import {
  isMarlineError,
  type MarlineError,
  type BatchSink,
  type ItemResult,
  type RawInput,
  type Tensors,
} from '#libs/common';
import type { HandlerItem, HandlerSetup, ModelBinding } from './handler-context.js';
import { isRefusedItem, toPredictionError } from './handler-errors.js';
import { checkFit, checkInputs } from './input-check.js';
import { parse, readProtocolRequest, requestOf, type ProtocolRequest } from './protocol-request.js';
import { TensorResponder } from './protocol-response.js';
import type { LoopPace } from './loop-pace.js';
import { BareInput, acceptsBytes, isBytesType } from './raw-tensor.js';
import { ownTensors, type RunPart } from './run-part.js';
import { assertBatchAxis, isStackable, sharesRun, stackRows } from './stacking.js';
import type { TensorArena } from './tensor-arena.js';

/** What a {@link TensorLane} works with. */
export interface TensorLaneOptions {
  readonly setup: HandlerSetup;
  readonly binding: ModelBinding;
  /** Where runs block the thread: lets its event loop turn between two of them. */
  readonly pace: LoopPace | undefined;
  /** Memory for the inputs of a run; left out where whoever runs the model keeps them. */
  readonly arena?: TensorArena;
  /** Gets the buffer of a large body once its run is over. */
  readonly recycle?: (buffer: ArrayBuffer) => void;
}

/** Smaller bodies are copied from thread to thread, and so have no buffer that anybody could use again. */
const LARGE_BODY_BYTES = 64 * 1024;

type Form = 'protocol' | 'indented' | 'bytes' | 'tensors';

interface Job {
  readonly id: string;
  readonly form: Form;
  readonly request: ProtocolRequest | undefined;
  readonly tensors: Tensors;
}

/**
 * Requests that are tensors already, from bytes to bytes, past the hooks: all items are read, those that agree are stacked into one
 * run, and each gets its rows. No promise, context or closure is made for an item; what fails, fails alone.
 */
export class TensorLane {
  readonly #options: TensorLaneOptions;
  readonly #responder: TensorResponder;
  readonly #isStackable: boolean;
  readonly #bareInput: BareInput;

  constructor(options: TensorLaneOptions) {
    this.#options = options;
    this.#responder = new TensorResponder(options.setup);
    this.#isStackable = isStackable(options.binding.inputs);
    this.#bareInput = new BareInput(options.binding.inputs);
  }

  /**
   * Settles every item; a single run that blocks the thread is over when this returns. Never throws or rejects. Calls may
   * overlap only where there is no arena.
   */
  run(items: readonly HandlerItem[], sink: BatchSink): Promise<void> | undefined {
    this.#options.arena?.reset();
    const jobs: Job[] = [];
    for (const item of items) {
      const job = this.#read(item, sink);
      if (job !== undefined) jobs.push(job);
    }
    const running = this.#runBuckets(this.#buckets(jobs), sink);
    if (running !== undefined) return running.then(() => this.#recycle(items));
    this.#recycle(items);
    return undefined;
  }

  #recycle(items: readonly HandlerItem[]): void {
    const { recycle } = this.#options;
    if (recycle === undefined) return;
    for (const { input } of items) {
      const body = bodyOf(input);
      if (body !== undefined && body.byteLength >= LARGE_BODY_BYTES && body.buffer instanceof ArrayBuffer)
        recycle(body.buffer);
    }
  }

  #read({ id, input }: HandlerItem, sink: BatchSink): Job | undefined {
    const { arena, binding } = this.#options;
    const mark = arena?.mark ?? 0;
    try {
      if (input.kind === 'tensors') {
        checkInputs(input.tensors, binding.inputs);
        return { id, form: 'tensors', request: undefined, tensors: input.tensors };
      }
      if (input.kind === 'protocol') {
        const request = readProtocolRequest(input, binding.outputs, arena);
        checkFit(request.tensors, binding.inputs);
        return { id, form: 'protocol', request, tensors: request.tensors };
      }
      return this.#readRaw(id, input as RawInput);
    } catch (error) {
      arena?.rollBack(mark);
      sink.error(id, errorOf(error));
      return undefined;
    }
  }

  /** The body of TorchServe's routes: JSON whatever its type says, or the bytes of the input. */
  #readRaw(id: string, { headers, parameters }: RawInput): Job {
    const { arena, binding } = this.#options;
    const { contentType, value } = parameters[0] as RawInput['parameters'][number];
    const form = acceptsBytes(headers) ? 'bytes' : 'indented';
    if (isBytesType(contentType)) {
      const tensors = this.#bareInput.read(value);
      return { id, form, request: undefined, tensors };
    }
    let json = parse(value, arena);
    // A request in a string of JSON is one, too.
    if (typeof json === 'string') json = parse(new TextEncoder().encode(json), arena);
    const request = requestOf(json, binding.outputs);
    checkFit(request.tensors, binding.inputs);
    return { id, form, request, tensors: request.tensors };
  }

  #buckets(jobs: readonly Job[]): readonly (readonly Job[])[] {
    if (jobs.length <= 1 || !this.#isStackable) return jobs.map((job) => [job]);
    const { inputs } = this.#options.binding;
    const buckets: Job[][] = [];
    for (const job of jobs) {
      const bucket = buckets.find(([first]) => sharesRun(job.tensors, (first as Job).tensors, inputs));
      if (bucket === undefined) buckets.push([job]);
      else bucket.push(job);
    }
    return buckets;
  }

  #runBuckets(buckets: readonly (readonly Job[])[], sink: BatchSink): Promise<void> | undefined {
    const [only] = buckets;
    if (only === undefined) return undefined;
    return buckets.length === 1 ? this.#runBucket(only, sink) : this.#runInTurn(buckets, sink);
  }

  async #runInTurn(buckets: readonly (readonly Job[])[], sink: BatchSink): Promise<void> {
    for (const bucket of buckets) {
      await this.#options.pace?.rest();
      await this.#runBucket(bucket, sink);
    }
  }

  #runBucket(bucket: readonly Job[], sink: BatchSink): Promise<void> | undefined {
    const { binding, arena } = this.#options;
    try {
      const outputs = binding.run(
        bucket.length > 1
          ? stackRows(
              bucket.map((job) => job.tensors),
              binding.inputs,
              arena,
            )
          : (bucket[0] as Job).tensors,
      );
      if (outputs instanceof Promise)
        return outputs
          .then((settled) => this.#answerAll(bucket, settled, sink))
          .catch((error: unknown) => this.#refuse(bucket, error, sink));
      this.#answerAll(bucket, outputs, sink);
      return undefined;
    } catch (error) {
      return this.#refuse(bucket, error, sink);
    }
  }

  #refuse(bucket: readonly Job[], error: unknown, sink: BatchSink): Promise<void> | undefined {
    // The model itself refused one of the items (an index out of range, say): alone, the others still succeed.
    if (bucket.length > 1 && isRefusedItem(error))
      return this.#runInTurn(
        bucket.map((job) => [job]),
        sink,
      );
    for (const { id } of bucket) sink.error(id, errorOf(error));
    return undefined;
  }

  /** @throws MarlineError when the model did not keep the rows of a stacked run apart; then nothing is answered yet */
  #answerAll(bucket: readonly Job[], outputs: Tensors, sink: BatchSink): void {
    const [only] = bucket;
    if (bucket.length === 1) return this.#answer(only as Job, { outputs }, sink);
    assertBatchAxis(
      outputs,
      bucket.reduce((sum, job) => sum + rowsOf(job), 0),
    );
    let start = 0;
    for (const job of bucket) {
      const count = rowsOf(job);
      this.#answer(job, { outputs, rows: { start, count } }, sink);
      start += count;
    }
  }

  #answer(job: Job, part: RunPart, sink: BatchSink): void {
    let result: ItemResult;
    try {
      result = this.#resultOf(job, part);
    } catch (error) {
      sink.error(job.id, errorOf(error));
      return;
    }
    sink.result(job.id, result);
  }

  #resultOf({ form, request }: Job, part: RunPart): ItemResult {
    switch (form) {
      case 'tensors':
        return {
          status: 200,
          reason: '',
          headers: [],
          output: { kind: 'tensors', tensors: ownTensors(part) },
        };
      case 'protocol':
        return this.#responder.protocol(request ?? WHOLE_ANSWER, part);
      case 'bytes':
        return (
          this.#responder.bytes(request, part) ?? this.#responder.indented(request ?? WHOLE_ANSWER, part)
        );
      case 'indented':
        return this.#responder.indented(request ?? WHOLE_ANSWER, part);
    }
  }
}

/** What a body of bare bytes asks for. */
const WHOLE_ANSWER = { id: undefined, outputs: undefined, binary: false, tensors: {} } as const;

/** True for a request of TorchServe's routes that the built-in handler `tensor` answers without its hooks. */
export function isTensorBody({ headers, parameters }: RawInput): boolean {
  const [body] = parameters;
  return parameters.length === 1 && body?.name === 'body' && !headers.includes('explain\nTrue');
}

function rowsOf({ tensors }: Job): number {
  for (const name in tensors) return tensors[name]?.shape[0] ?? 0;
  return 0;
}

function bodyOf(input: HandlerItem['input']): Uint8Array | undefined {
  if (input.kind === 'protocol') return input.body;
  return input.kind === 'raw' ? input.parameters[0]?.value : undefined;
}

/** All that throws here is ours, and so is its wording. */
function errorOf(error: unknown): MarlineError {
  return isMarlineError(error) ? error : toPredictionError(error, () => true);
}
