import type { Tensors } from './tensor.js';
import type { MarlineError } from './errors.js';

/** A header or a custom metadata line, in the letter case of whoever wrote it. */
export type Header = readonly [name: string, value: string];

/** One parameter of a request: the whole body is the parameter `body`; form fields and parts have their own names. */
export interface Parameter {
  readonly name: string;
  /** Media type without parameters; empty for form fields. */
  readonly contentType: string;
  readonly value: Uint8Array;
}

/** A request as it came over the wire, for a handler that runs beside the session. */
export interface RawInput {
  readonly kind: 'raw';
  readonly headers: readonly Header[];
  readonly parameters: readonly Parameter[];
}

/** Tensors from a handler (or caller) that made them already: straight to the session. */
export interface TensorInput {
  readonly kind: 'tensors';
  readonly tensors: Tensors;
}

/** A value of the host application for a host handler: never leaves the main thread. */
export interface ValueInput {
  readonly kind: 'value';
  readonly headers: readonly Header[];
  readonly value: unknown;
}

/** What a worker accepts for one item of a batch. */
export type WorkerInput = RawInput | TensorInput;

/** One request of a batch. The receiver owns the bytes and tensors in it. */
export interface BatchItem<Input = WorkerInput> {
  /** The request id: unique among all requests under way. */
  readonly id: string;
  readonly input: Input;
}

/** An answer's body. `encoding` tells an in-process caller how to read the bytes back; over HTTP the bytes go out as they are. */
export type ItemOutput =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array; readonly encoding: 'json' | 'text' | 'binary' }
  | { readonly kind: 'tensors'; readonly tensors: Tensors }
  | { readonly kind: 'value'; readonly value: unknown };

/** The answer to one item. */
export interface ItemResult {
  /** HTTP status that the handler chose; 200 unless it did. */
  readonly status: number;
  /** Reason phrase that the handler chose; empty unless it did. */
  readonly reason: string;
  readonly headers: readonly Header[];
  readonly output: ItemOutput;
}

/**
 * Where a worker puts what becomes of each item: any number of chunks, then exactly one result or error.
 * `chunk` resolves when the reader has room for the next one, so a slow client slows its producer and nobody else.
 */
export interface BatchSink {
  chunk(id: string, chunk: ItemResult): Promise<void>;
  result(id: string, result: ItemResult): void;
  error(id: string, error: MarlineError): void;
}
