import {
  MarlineError,
  isMarlineError,
  isTensors,
  toMarlineError,
  type BatchSink,
  type ItemOutput,
  type ItemResult,
  type Tensors,
} from '#libs/common';
import { BaseHandler, type HandlerRequest, type RequestValue } from './base-handler.js';
import type { RequestsContext } from './context.js';
import {
  AnsweringContext,
  LoadedModelContext,
  type HandlerItem,
  type HandlerSetup,
  type ModelBinding,
} from './handler-context.js';
import { envelopeOf } from './envelope.js';
import { answerOf, isOutOfMemory, toPredictionError } from './handler-errors.js';
import { checkInputs } from './input-check.js';
import { LoopPace } from './loop-pace.js';
import { encodeOutput } from './output-encoding.js';
import { openItem, type Letter } from './open-item.js';
import { itemInput } from './request-decoding.js';
import { RunCollector } from './run-collector.js';
import { TensorArena } from './tensor-arena.js';
import { TensorLane, isTensorBody } from './tensor-lane.js';
import { TimedBinding } from './timed-binding.js';

/** What a {@link HandlerRunner} works with. */
export interface HandlerRunnerOptions {
  readonly setup: HandlerSetup;
  readonly binding: ModelBinding;
  /** `bytes`: answers are encoded for the wire. `value`: they stay as the hook returned them, for a handler on the main thread. */
  readonly output: 'bytes' | 'value';
  /** Gets the buffer of a large body that the run is done with, for the next one. */
  readonly recycle?: (buffer: ArrayBuffer) => void;
}

/**
 * Takes batches through the hooks of a handler, and gives every item exactly one result or error.
 *
 * Items run side by side, each through preprocess, inference and postprocess, and fail alone; their runs of the model
 * are stacked. A handler with `handle` gets the whole batch. Tensors pass preprocess and postprocess by, and what needs no hook
 * of a handler at all takes the lane of its own.
 */
export class HandlerRunner {
  readonly #handler: BaseHandler | undefined;
  readonly #options: HandlerRunnerOptions;
  readonly #binding: ModelBinding;
  #lane: TensorLane | undefined;
  /** True when `inference` is the one that runs the model and does nothing else, and nobody pads for it. */
  readonly #infersPlainly: boolean;
  /** True for the built-in handler `tensor`, all of whose hooks the lane stands for. */
  readonly #isTensorHandler: boolean;
  /** Errors that arose in our own code under a hook, and so are ours to word. */
  readonly #ours = new WeakSet<MarlineError>();
  /** Left out on the main thread, where a run is a wait for a worker. */
  readonly #pace: LoopPace | undefined;
  readonly #model: TimedBinding;

  /** @param handler nothing: only tensors are taken, for a model whose handler runs elsewhere */
  constructor(handler: BaseHandler | undefined, options: HandlerRunnerOptions) {
    this.#handler = handler;
    this.#options = options;
    this.#pace = options.output === 'bytes' ? new LoopPace() : undefined;
    this.#model = new TimedBinding(options.binding);
    const { inputs, outputs } = options.binding;
    this.#binding = { inputs, outputs, run: (tensors) => this.#runModel(tensors) };
    this.#infersPlainly =
      handler === undefined ||
      (handler.inference === BaseHandler.prototype.inference && handler.pad === undefined);
    this.#isTensorHandler =
      handler !== undefined &&
      Object.getPrototypeOf(handler) === BaseHandler.prototype &&
      Object.keys(handler).length === 0;
  }

  /**
   * Calls the handler's `initialize`.
   * @throws MarlineError `OUT_OF_RESOURCES`, or `HANDLER_INVALID` with what was thrown as its cause, also for an unknown envelope
   */
  async initialize(): Promise<void> {
    try {
      envelopeOf(this.#options.setup.envelope ?? '');
      await this.#handler?.initialize(new LoadedModelContext(this.#options.setup, this.#binding));
    } catch (error) {
      if (isOutOfMemory(error)) throw new MarlineError('OUT_OF_RESOURCES', {}, { cause: error });
      const handler = this.#options.setup.manifest.model.handler ?? 'the handler';
      throw toMarlineError(error, 'HANDLER_INVALID', {
        reason: `${handler} failed in initialize; the log has the cause.`,
      });
    }
  }

  /**
   * Takes items through their hooks, in runs of at most `batchSize`, one after the other; the sink gets the results of each, and how
   * long it took. A handler on the main thread gets all items at once: its batcher made them a batch.
   *
   * Never rejects. Does not return before the last hook has: ending one that never does is up to the caller.
   */
  async run(items: readonly HandlerItem[], sink: BatchSink): Promise<void> {
    const { output, setup } = this.#options;
    const size = output === 'value' ? items.length : Math.max(1, setup.systemProperties.batchSize);
    this.#pace?.begin();
    for (let from = 0; from < items.length; from += size) {
      if (from > 0) await this.#pace?.rest();
      const running = this.#runTimed(items.length > size ? items.slice(from, from + size) : items, sink);
      if (running !== undefined) await running;
    }
  }

  #runTimed(items: readonly HandlerItem[], sink: BatchSink): Promise<void> | undefined {
    this.#model.begin();
    const tell = () => {
      const { durationMs, hooks } = this.#model.end();
      sink.ran(items.length, durationMs, this.#isHandled(items) ? undefined : hooks);
    };
    const running = items.every((item) => this.#isForLane(item.input))
      ? this.#tensorLane().run(items, sink)
      : this.#runMixed(items, sink);
    if (running !== undefined) return running.then(tell);
    tell();
    return undefined;
  }

  /** True when the handler's `handle` has a part in it, so that nobody knows what it did when. */
  #isHandled(items: readonly HandlerItem[]): boolean {
    if (this.#handler?.handle === undefined) return false;
    return items.some(({ input: { kind } }) => kind === 'raw' || kind === 'value');
  }

  async #runMixed(items: readonly HandlerItem[], sink: BatchSink): Promise<void> {
    const hooked = items.filter((item) => !this.#isForLane(item.input));
    if (hooked.length < items.length)
      await this.#tensorLane().run(
        items.filter((item) => this.#isForLane(item.input)),
        sink,
      );
    await this.#runHooks(hooked, sink);
  }

  /** Made by the first item that needs it: a handler on the main thread has a runner for each request. */
  #tensorLane(): TensorLane {
    const { setup, output, recycle } = this.#options;
    return (this.#lane ??= new TensorLane({
      setup,
      binding: this.#model,
      pace: this.#pace,
      // On the main thread the batcher keeps the tensors, and runs overlap.
      ...(output === 'bytes' ? { arena: new TensorArena() } : {}),
      ...(recycle === undefined ? {} : { recycle }),
    }));
  }

  #isForLane(input: HandlerItem['input']): boolean {
    switch (input.kind) {
      case 'protocol':
        return true;
      case 'tensors':
        return this.#infersPlainly;
      case 'raw':
        return this.#isTensorHandler && this.#options.output === 'bytes' && isTensorBody(input);
      case 'value':
        return false;
    }
  }

  async #runHooks(items: readonly HandlerItem[], sink: BatchSink): Promise<void> {
    const letters = items.map((item) => openItem(item, this.#options.setup));
    const isBatch = this.#handler?.handle !== undefined;
    const batch = isBatch ? letters.filter(({ item }) => item.input.kind !== 'tensors') : [];
    const single = isBatch ? letters.filter(({ item }) => item.input.kind === 'tensors') : letters;
    const members = single.reduce((sum, { data }) => sum + data.length, 0);
    const collector = new RunCollector(members, this.#binding, this.#pad());
    await Promise.all([
      ...single.map((letter) => this.#runItem(letter, collector, sink)),
      ...(batch.length === 0 ? [] : [this.#runBatch(batch, sink)]),
    ]);
  }

  async #runItem(letter: Letter, collector: RunCollector, sink: BatchSink): Promise<void> {
    const { item, data, close } = letter;
    const run = (member: object, inputs: Tensors) => collector.run(member, inputs);
    // One for each, because the hooks of each tell each other things by it.
    const contexts = data.map(() => this.#context([item], sink, run, close !== undefined));
    const [first] = contexts as [AnsweringContext];
    const settled = await this.#attempt(
      async () => {
        if (letter.error !== undefined) throw this.#remember(letter.error);
        const answers = await Promise.all(
          contexts.map((context, index) => this.#answer(letter, index, context)),
        );
        return first.result(0, outputOf(item, answers[0]) ?? this.#closed(letter, answers));
      },
      (output) => first.result(0, output),
    );
    for (const context of contexts) {
      context.close();
      collector.leave(context);
    }
    if (isMarlineError(settled)) sink.error(item.id, settled);
    else sink.result(item.id, settled);
  }

  async #runBatch(letters: readonly Letter[], sink: BatchSink): Promise<void> {
    for (const { item, error } of letters) if (error !== undefined) sink.error(item.id, error);
    const sound = letters.filter(({ error }) => error === undefined);
    if (sound.length === 0) return;
    const context = this.#context(
      sound.map(({ item }) => item),
      sink,
      (_member, inputs) => this.#runModel(inputs),
      sound.some(({ close }) => close !== undefined),
    );
    const settled = await this.#attempt(
      async () => {
        const requests = sound.flatMap(({ data }) => data) as HandlerRequest[];
        const answers: unknown = await this.#handler?.handle?.(requests, context);
        if (!Array.isArray(answers)) throw this.#fail('INVALID_OUTPUT');
        if (answers.length !== requests.length) throw this.#fail('BATCH_LENGTH_MISMATCH');
        let at = 0;
        return sound.map((letter, index) => {
          const own: unknown[] = answers.slice(at, (at += letter.data.length));
          return context.result(index, this.#closed(letter, own));
        });
      },
      (output) => sound.map((_, index) => context.result(index, output)),
    );
    context.close();
    for (const [index, { item }] of sound.entries()) {
      if (isMarlineError(settled)) sink.error(item.id, settled);
      else sink.result(item.id, settled[index] as ItemResult);
    }
  }

  /** The answer to one of the data of an item: tensors to tensors, else what the last hook returned. */
  async #answer(
    { item: { input }, data }: Letter,
    index: number,
    context: RequestsContext,
  ): Promise<unknown> {
    const handler = this.#handler;
    if (input.kind === 'tensors') {
      const tensors: unknown = await (handler?.inference(input.tensors, context) ??
        context.run(input.tensors));
      if (!isTensors(tensors)) throw this.#fail('INVALID_OUTPUT');
      return tensors;
    }
    if (handler === undefined) {
      throw this.#fail(
        'HANDLER_NOT_FOUND',
        `Model ${context.modelName} has no handler here: it takes tensors only.`,
      );
    }
    const value = input.kind === 'value' ? (input.value as RequestValue) : itemInput(data[index] ?? null);
    if (context.getRequestHeader(0, 'explain') === 'True') {
      if (handler.explain === undefined) {
        throw this.#remember(
          new MarlineError('PREDICTION_FAILED', {
            cause: `Model ${context.modelName} gives no explanations: its handler has no explain.`,
          }),
        );
      }
      return handler.explain(value, context);
    }
    const inputs = await handler.preprocess(value, context);
    const outputs = await handler.inference(inputs, context);
    return handler.postprocess(outputs, context);
  }

  #context(
    items: readonly HandlerItem[],
    sink: BatchSink,
    run: (member: object, inputs: Tensors) => Promise<Tensors>,
    inEnvelope: boolean,
  ): AnsweringContext {
    return new AnsweringContext(this.#options.setup, this.#binding, items, {
      run: (context, inputs) =>
        this.#own(async () => {
          checkInputs(inputs, this.#binding.inputs);
          return run(context, inputs);
        }),
      chunk: (id, chunk) => {
        if (inEnvelope) throw new Error('An answer in a service envelope has no parts.');
        return sink.chunk(id, chunk);
      },
      encode: (value) => this.#encode(value),
    });
  }

  #pad(): ((items: readonly Tensors[]) => readonly Tensors[]) | undefined {
    const handler = this.#handler;
    if (handler?.pad === undefined) return undefined;
    const context = new LoadedModelContext(this.#options.setup, this.#binding);
    return (items) => handler.pad?.(items, context) ?? items;
  }

  async #runModel(inputs: Tensors): Promise<Tensors> {
    await this.#pace?.rest();
    return this.#model.run(inputs);
  }

  #closed({ close }: Letter, answers: readonly unknown[]): ItemOutput {
    try {
      return this.#encode(close === undefined ? answers[0] : close(answers));
    } catch (error) {
      throw this.#remember(error);
    }
  }

  #encode(value: unknown): ItemOutput {
    if (this.#options.output === 'value') return { kind: 'value', value };
    try {
      return encodeOutput(value);
    } catch (error) {
      throw this.#remember(error);
    }
  }

  async #attempt<T>(hooks: () => Promise<T>, answered: (output: ItemOutput) => T): Promise<T | MarlineError> {
    try {
      return await hooks();
    } catch (error) {
      const output = answerOf(error);
      return output === undefined
        ? toPredictionError(error, (known) => this.#ours.has(known))
        : answered(output);
    }
  }

  async #own<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw this.#remember(error);
    }
  }

  #fail(code: 'INVALID_OUTPUT' | 'BATCH_LENGTH_MISMATCH' | 'HANDLER_NOT_FOUND', reason?: string): unknown {
    return this.#remember(new MarlineError(code, reason === undefined ? {} : { reason }));
  }

  #remember(error: unknown): unknown {
    if (isMarlineError(error)) this.#ours.add(error);
    return error;
  }
}

/** The output of an item that was tensors. */
function outputOf({ input }: HandlerItem, answer: unknown): ItemOutput | undefined {
  return input.kind === 'tensors' ? { kind: 'tensors', tensors: answer as Tensors } : undefined;
}
