import type { ItemResult, RawInput, TensorInput, ValueInput } from '#libs/common';

/** One request for one model, whichever door it came through. */
export interface PredictionRequest {
  /** Unique among the requests under way; the `x-request-id` of the answer. */
  readonly id: string;
  /** A `value` input reaches a host handler as it is; for a handler in a worker it is written as a JSON body first. */
  readonly input: RawInput | TensorInput | ValueInput;
  /** Milliseconds from now within which the caller wants an answer. Unlimited by default. */
  readonly deadlineMs?: number;
  /** Aborted when the caller is gone. */
  readonly signal?: AbortSignal;
}

/** What comes back: one result, or a stream whose first part is here already. */
export type PredictionAnswer =
  | { readonly streaming: false; readonly result: ItemResult }
  | { readonly streaming: true; readonly first: ItemResult; readonly rest: AsyncIterable<ItemResult> };
