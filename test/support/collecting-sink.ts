import type { BatchItem, BatchSink, ItemOutput, ItemResult, MarlineError } from '#libs/common';

/** Keeps what becomes of each item, and complains when an item is settled twice. */
export class CollectingSink implements BatchSink {
  readonly chunks: { id: string; text: string }[] = [];
  readonly results = new Map<string, ItemResult>();
  readonly errors = new Map<string, MarlineError>();
  /** Items of each group that the worker reported. */
  readonly runs: number[] = [];
  /** What the reader of a chunk waits for; room at once unless a test says otherwise. */
  room: (id: string) => Promise<void> = () => Promise.resolve();

  chunk(id: string, chunk: ItemResult): Promise<void> {
    this.chunks.push({ id, text: textOf(chunk.output) });
    return this.room(id);
  }

  result(id: string, result: ItemResult): void {
    this.#once(id);
    this.results.set(id, result);
  }

  error(id: string, error: MarlineError): void {
    this.#once(id);
    this.errors.set(id, error);
  }

  ran(items: number): void {
    this.runs.push(items);
  }

  /** The answer's text, or the error's code. */
  answer(id: string): string | undefined {
    const result = this.results.get(id);
    return result === undefined ? this.errors.get(id)?.code : textOf(result.output);
  }

  #once(id: string): void {
    if (this.answer(id) !== undefined) throw new Error(`Item ${id} was settled twice.`);
  }
}

let lastId = 0;

/** A raw request whose body is `text`. */
export function textItem(text: string, id = `item-${(lastId += 1)}`): BatchItem {
  const value = new TextEncoder().encode(text);
  return {
    id,
    input: { kind: 'raw', headers: '', parameters: [{ name: 'body', contentType: 'text/plain', value }] },
  };
}

/** A plain text answer. */
export function textResult(text: string): ItemResult {
  const bytes = new TextEncoder().encode(text);
  return { status: 200, reason: '', headers: [], output: { kind: 'bytes', bytes, encoding: 'text' } };
}

export function textOf(output: ItemOutput): string {
  if (output.kind === 'text') return output.text;
  if (output.kind !== 'bytes') throw new Error(`Expected bytes, got ${output.kind}.`);
  return new TextDecoder().decode(output.bytes);
}
