import type { Tensors } from '#libs/common';
import type { ModelContext, RequestsContext } from './context.js';
import { readTensorRequest, writeTensorResponse } from './tensor-request.js';

/** A value of a request as a handler sees it: JSON already parsed, text as a string, all else bytes. @publicApi */
export type RequestValue =
  Uint8Array | string | number | boolean | null | readonly unknown[] | { readonly [key: string]: unknown };

/** One request: its parameters by name. A plain body is `body`. @publicApi */
export type HandlerRequest = Readonly<Record<string, RequestValue>>;

/**
 * Turns requests into tensors and tensors into answers.
 *
 * The steps of one item are `preprocess → inference → postprocess`. Items are handled one by one, and one that fails,
 * fails alone; the framework stacks their tensors along the batch axis for the model and splits them again. The hooks of
 * one item get the same context object, so a `WeakMap` by context carries what one hook has to tell a later one.
 *
 * As it stands it is the built-in handler `tensor`: named tensors in and out, in the JSON of the open inference
 * protocol. Override what differs: `preprocess` alone gives an image model that answers with raw tensors.
 * A handler that has {@link BaseHandler.handle} gets the whole batch, as in TorchServe, and then a failure fails the batch.
 *
 * @typeParam Input what `preprocess` takes: the request's `data`, else its `body`, else all its parameters by name
 * @typeParam Output what `postprocess` returns: bytes and strings go out as they are, all else as JSON
 *
 * @example
 * class Fraud extends BaseHandler<number[], { score: number }> {
 *   override preprocess(features: number[]) {
 *     return { features: tensor('float32', Float32Array.from(features), [1, features.length]) };
 *   }
 *   override postprocess(outputs: Tensors) {
 *     return { score: Number(outputs['score']?.data[0]) };
 *   }
 * }
 * @publicApi
 */
export class BaseHandler<Input = RequestValue, Output = unknown> {
  /** Called once per instance before any request. The place to read labels, vocabularies and configuration. */
  initialize(_context: ModelContext): void | Promise<void> {}

  /**
   * Makes the model's inputs of one item, with a batch axis of 1 in front. The default reads named tensors in JSON.
   * @throws MarlineError `INVALID_INPUT` for what the caller can put right: it is answered 400 with this text, all else 503 without
   */
  preprocess(input: Input, context: RequestsContext): Tensors | Promise<Tensors> {
    return readTensorRequest(input, context);
  }

  /** Runs the model. The default hands the tensors to the session (or, for a host handler, to the batcher). */
  inference(inputs: Tensors, context: RequestsContext): Tensors | Promise<Tensors> {
    return context.run(inputs);
  }

  /** Makes the answer of one item from the model's outputs, which have a batch axis of 1 in front. The default writes named tensors in JSON. */
  postprocess(outputs: Tensors, context: RequestsContext): Output | Promise<Output> {
    return writeTensorResponse(outputs, context) as Output;
  }

  /**
   * Makes tensors of several items agree in all dimensions but the first, so that they fit one run (token lists of
   * different lengths, say). Gets the items that are about to run and returns them in the same order. Without it, only
   * items whose shapes agree already are run together.
   */
  pad?(items: readonly Tensors[], context: ModelContext): readonly Tensors[];

  /** The whole batch, one answer per request in the same order. Write it only for work that must see the batch. */
  handle?(
    requests: readonly HandlerRequest[],
    context: RequestsContext,
  ): readonly Output[] | Promise<readonly Output[]>;

  /** Explains one prediction; without it, explanations of this model are refused. */
  explain?(input: Input, context: RequestsContext): unknown;
}
