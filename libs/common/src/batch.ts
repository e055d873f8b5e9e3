import type { Tensors } from './tensor.js';
import type { MarlineError } from './errors.js';
import type { HookTimings } from './observer.js';

/** A header or a custom metadata line, in the letter case of whoever wrote it. */
export type Header = readonly [name: string, value: string];

/** One parameter of a request: the whole body is the parameter `body`; form fields and parts have their own names. */
export interface Parameter {
  readonly name: string;
  /** Media type without parameters; empty for form fields. */
  readonly contentType: string;
  readonly value: Uint8Array;
}

/**
 * Headers as one text: names and values in turn, one a line. Neither can contain a line feed, and a text crosses to another
 * thread at a tenth of the cost of a list of pairs, which most handlers never look at.
 * @example 'Content-Type\napplication/json\nexplain\nFalse'
 */
export type HeaderText = string;

/** A request as it came over the wire, for a handler that runs beside the session. */
export interface RawInput {
  readonly kind: 'raw';
  readonly headers: HeaderText;
  readonly parameters: readonly Parameter[];
}

/** A request of the open inference protocol as it came over the wire: its tensors go to the model, whatever its handler. */
export interface ProtocolInput {
  readonly kind: 'protocol';
  /** The JSON, and behind it the binary tensors that it announces. */
  readonly body: Uint8Array;
  /** Length of the JSON when binary tensors stand behind it: the protocol's `Inference-Header-Content-Length`. */
  readonly jsonBytes?: number;
}

/** Tensors from a handler (or caller) that made them already: straight to the session. */
export interface TensorInput {
  readonly kind: 'tensors';
  readonly tensors: Tensors;
}

/** A value of the host application for a host handler: never leaves the main thread. */
export interface ValueInput {
  readonly kind: 'value';
  readonly value: unknown;
}

/** What a worker accepts for one item of a batch. */
export type WorkerInput = RawInput | ProtocolInput | TensorInput;

/** One request of a batch. The receiver owns the bytes and tensors in it. */
export interface BatchItem<Input = WorkerInput> {
  /** The request id: unique among all requests under way. */
  readonly id: string;
  readonly input: Input;
}

/**
 * An answer's body. `encoding` tells an in-process caller how to read it back; over HTTP it goes out as it is.
 * `unknown` is what a Python handler gave without a content type: a text it may be, or JSON, or neither.
 * A short text stays a string, which crosses to another thread and into a socket without a buffer of its own; a long one is UTF-8 bytes.
 */
export type ItemOutput =
  | { readonly kind: 'text'; readonly text: string; readonly encoding: 'json' | 'text' }
  | {
      readonly kind: 'bytes';
      readonly bytes: Uint8Array;
      readonly encoding: 'json' | 'text' | 'binary' | 'unknown';
    }
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
  /**
   * The worker spent `durationMs` on a group of `items` of this batch, decoding and encoding included.
   * @param hooks what of it was not the model; unknown of Python workers, and of handlers that have `handle`
   */
  ran(items: number, durationMs: number, hooks?: HookTimings): void;
}
