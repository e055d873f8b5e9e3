import { randomUUID } from 'node:crypto';
import { MarlineError, type HeaderText, type WorkerInput } from '#libs/common';
import type { InferenceOptions } from './inference.options.js';

/** One call of a sequence: calls with the same id go to the same worker, one after the other. @publicApi */
export interface SequenceStep {
  /** 1 to 1,024 characters, none of them a control character. */
  readonly id: string;
  /** Tells the handler that it is the first one. False by default. */
  readonly start?: boolean;
  /** Tells the handler that it is the last one, and ends the sequence with its answer. False by default. */
  readonly end?: boolean;
}

/** The names of the headers that tell about sequences, in the letter case that counts. */
export interface SequenceHeaders {
  readonly id: string;
  readonly start: string;
  readonly end: string;
}

/** Those that are configured. */
export function sequenceHeaders(
  options: Pick<InferenceOptions, 'sequenceIdHeader' | 'sequenceStartHeader' | 'sequenceEndHeader'>,
): SequenceHeaders {
  const { sequenceIdHeader: id, sequenceStartHeader: start, sequenceEndHeader: end } = options;
  return { id, start, end };
}

const MOST_ID_CHARACTERS = 1024;
const CONTROL_CHARACTER = /\p{Cc}/u;

/** A request as a step of its sequence. */
export interface SequenceRequest {
  readonly sequence: string;
  readonly isLast: boolean;
  /** With the headers by which the handler knows the sequence. */
  readonly input: WorkerInput;
}

/**
 * Finds the sequence of a request: the one that its caller names, or its header; else a new one, which the handler sees as started.
 * @throws MarlineError `INVALID_INPUT` for an id that is none
 */
export function sequenceOf(
  input: WorkerInput,
  step: SequenceStep | undefined,
  names: SequenceHeaders,
): SequenceRequest {
  if (step !== undefined) {
    const { id, start = false, end = false } = step;
    const told = {
      [names.id]: checked(id),
      ...(start && { [names.start]: 'true' }),
      ...(end && { [names.end]: 'true' }),
    };
    return { sequence: id, isLast: end, input: withHeaders(input, told) };
  }
  const headers = input.kind === 'raw' ? input.headers : '';
  const isLast = headerOf(headers, names.end)?.toLowerCase() === 'true';
  const id = headerOf(headers, names.id) ?? '';
  if (id !== '') return { sequence: checked(id), isLast, input };
  const made = `ts-seq-${randomUUID()}`;
  return { sequence: made, isLast, input: withHeaders(input, { [names.id]: made, [names.start]: 'true' }) };
}

function checked(id: unknown): string {
  if (typeof id === 'string' && id !== '' && id.length <= MOST_ID_CHARACTERS && !CONTROL_CHARACTER.test(id))
    return id;
  throw new MarlineError('INVALID_INPUT', {
    reason: `The id of a sequence is a text of 1 to ${MOST_ID_CHARACTERS} characters without control characters.`,
  });
}

/** Behind the others, because of a repeated name the last counts. Tensors have no headers. */
function withHeaders(input: WorkerInput, added: Readonly<Record<string, string>>): WorkerInput {
  if (input.kind !== 'raw') return input;
  const lines = [...(input.headers === '' ? [] : [input.headers]), ...Object.entries(added).flat()];
  return { ...input, headers: lines.join('\n') };
}

/** The last header of this name, in exactly this letter case. */
function headerOf(headers: HeaderText, name: string): string | undefined {
  if (!headers.includes(name)) return undefined;
  const lines = headers.split('\n');
  for (let at = lines.length - 2; at >= 0; at -= 2) if (lines[at] === name) return lines[at + 1];
  return undefined;
}
