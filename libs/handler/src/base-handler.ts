import type { Tensors } from '#libs/common';
import type { ModelContext, RequestsContext } from './context.js';

/** A value of a request as a handler sees it: JSON already parsed, text as a string, all else bytes. @publicApi */
export type RequestValue = Uint8Array | string | number | boolean | null | readonly unknown[] | { readonly [key: string]: unknown };

/** One request: its parameters by name. A plain body is `body`. @publicApi */
export type HandlerRequest = Readonly<Record<string, RequestValue>>;

/**
 * Turns requests into tensors and tensors into answers.
 *
 * The steps of one item are `preprocess → inference → postprocess`. Items are handled one by one, and one that fails,
 * fails alone; the framework stacks their tensors along the batch axis for the model and splits them again.
 * A handler that overrides {@link BaseHandler.handle} gets the whole batch, as in TorchServe, and then a failure fails the batch.
 *
 * @typeParam Input what `preprocess` takes: the request's `data`, else its `body`, else all its parameters by name
 * @typeParam Output what `postprocess` returns: bytes and strings go out as they are, all else as JSON
 * @publicApi
 */
export abstract class BaseHandler<Input = RequestValue, Output = unknown> {
  /** Called once per instance before any request. The place to read labels, vocabularies and configuration. */
  initialize(_context: ModelContext): void | Promise<void> {}

  /** Makes the model's inputs of one item, with a batch axis of 1 in front. */
  abstract preprocess(input: Input, context: RequestsContext): Tensors | Promise<Tensors>;

  /** Runs the model. The default hands the tensors to the session (or, for a host handler, to the batcher). */
  inference(inputs: Tensors, context: RequestsContext): Tensors | Promise<Tensors> {
    return context.run(inputs);
  }

  /** Makes the answer of one item from the model's outputs, which have a batch axis of 1 in front. */
  abstract postprocess(outputs: Tensors, context: RequestsContext): Output | Promise<Output>;

  /** The whole batch, one answer per request in the same order. Override it only for work that must see the batch. */
  handle?(requests: readonly HandlerRequest[], context: RequestsContext): readonly Output[] | Promise<readonly Output[]>;

  /** Explains one prediction; without it, explanations of this model are refused. */
  explain?(input: Input, context: RequestsContext): unknown;
}
