import {
  MarlineError,
  isTensors,
  type ItemResult,
  type ProtocolInput,
  type RawInput,
  type TensorInput,
  type ValueInput,
  type WorkerInput,
} from '#libs/common';
import type { SequenceStep } from './sequence-headers.js';

/**
 * Tells that a caller is gone. An `AbortSignal` is one; doors with many short requests have cheaper ones, because an
 * AbortController costs as much as all else that a small request needs on the main thread.
 */
export interface CancelSignal {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** One request for one model, whichever door it came through. */
export interface PredictionRequest {
  /** Unique among the requests under way; the `x-request-id` of the answer. */
  readonly id: string;
  /** A `value` input reaches a host handler as it is; for a handler in a worker it is written as {@link toWorkerInput} says. */
  readonly input: RawInput | ProtocolInput | TensorInput | ValueInput;
  /** The version that the caller named; left out where it took the default one. Only to be counted: the model is chosen already. */
  readonly version?: string;
  /** Milliseconds from now within which the caller wants an answer. Unlimited by default. */
  readonly deadlineMs?: number;
  /** Aborted when the caller is gone. */
  readonly signal?: CancelSignal;
  /** Who goes first when requests wait; `normal` by default. */
  readonly priority?: Priority;
  /** Whom the request is for: tenants that wait share the workers evenly, however many requests each sends. */
  readonly tenant?: string;
  /** True: shares its batch with nobody. */
  readonly alone?: boolean;
  /** The sequence that it is a step of; wins over the request's headers. */
  readonly sequence?: SequenceStep;
}

/** From first to last. @publicApi */
export type Priority = 'high' | 'normal' | 'low';

export function isPriority(value: unknown): value is Priority {
  return value === 'high' || value === 'normal' || value === 'low';
}

/** What comes back: one result, or a stream whose first part is here already. */
export type PredictionAnswer =
  | { readonly streaming: false; readonly result: ItemResult }
  | { readonly streaming: true; readonly first: ItemResult; readonly rest: AsyncIterable<ItemResult> };

/**
 * An input that can leave the main thread. A value of the application becomes the request that a client would send:
 * tensors stay tensors, bytes are a binary body, a string is a text body, all else is a JSON body.
 * @throws MarlineError `INVALID_INPUT` for a value that JSON cannot carry
 */
export function toWorkerInput(input: PredictionRequest['input']): WorkerInput {
  if (input.kind !== 'value') return input;
  const { value } = input;
  if (isTensors(value)) return { kind: 'tensors', tensors: value };
  const body = (contentType: string, bytes: Uint8Array): RawInput => ({
    kind: 'raw',
    headers: '',
    parameters: [{ name: 'body', contentType, value: bytes }],
  });
  // Copied, because the worker takes ownership of the bytes and the application still has its own.
  if (value instanceof Uint8Array) return body('application/octet-stream', Uint8Array.from(value));
  if (typeof value === 'string') return body('text/plain', new TextEncoder().encode(value));
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (cause) {
    throw new MarlineError(
      'INVALID_INPUT',
      { reason: 'The input cannot be written as JSON for a handler in a worker.' },
      { cause },
    );
  }
  if (json === undefined)
    throw new MarlineError('INVALID_INPUT', {
      reason: `The input is ${typeof value}; a handler in a worker needs data.`,
    });
  return body('application/json', new TextEncoder().encode(json));
}
