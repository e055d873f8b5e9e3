import { MarlineError, type BatchSink, type ItemResult } from '#libs/common';

interface Part {
  readonly part: ItemResult;
  readonly isLast: boolean;
  readonly bytes: number;
}

interface Line {
  readonly parts: Part[];
  bytes: number;
}

/** What a part without a body costs. */
const PART_BYTES = 128;

/**
 * Keeps the parts of streamed answers until their readers have room, so that a slow reader holds up neither the worker nor the
 * other answers that come from it at the same time. What is kept of one answer is bounded: a reader that falls further
 * behind gets `OUT_OF_RESOURCES` in place of the rest.
 */
export class PartBuffer implements BatchSink {
  readonly #sink: BatchSink;
  readonly #mostBytes: number;
  /** What waits, by item; an item has a line while a part of it is being read. */
  readonly #lines = new Map<string, Line>();
  readonly #tooSlow = new Set<string>();

  /** @param mostBytes that are kept of one answer */
  constructor(sink: BatchSink, mostBytes: number) {
    this.#sink = sink;
    this.#mostBytes = mostBytes;
  }

  /** Takes the part at once. */
  chunk(id: string, chunk: ItemResult): Promise<void> {
    this.#put(id, chunk, false);
    return Promise.resolve();
  }

  result(id: string, result: ItemResult): void {
    this.#put(id, result, true);
  }

  error(id: string, error: MarlineError): void {
    this.#lines.delete(id);
    if (!this.#tooSlow.delete(id)) this.#sink.error(id, error);
  }

  /** Runs that overlap: how long one takes says nothing of when there is room for another. */
  ran(): void {}

  #put(id: string, part: ItemResult, isLast: boolean): void {
    if (this.#tooSlow.has(id)) return;
    const bytes = PART_BYTES + (part.output.kind === 'bytes' ? part.output.bytes.byteLength : 0);
    const line = this.#lines.get(id);
    if (line === undefined) {
      const first = { parts: [{ part, isLast, bytes }], bytes };
      this.#lines.set(id, first);
      void this.#tell(id, first);
      return;
    }
    line.parts.push({ part, isLast, bytes });
    line.bytes += bytes;
    if (line.bytes <= this.#mostBytes) return;
    this.#lines.delete(id);
    this.#tooSlow.add(id);
    const cause = new Error(`The answer is read so slowly that ${line.bytes} bytes of it wait.`);
    this.#sink.error(id, new MarlineError('OUT_OF_RESOURCES', {}, { cause }));
  }

  async #tell(id: string, line: Line): Promise<void> {
    for (let next = line.parts.shift(); next !== undefined; next = line.parts.shift()) {
      line.bytes -= next.bytes;
      if (next.isLast) this.#sink.result(id, next.part);
      // A reader that fails wants no more, and its item must have an end nevertheless.
      else await this.#sink.chunk(id, next.part).catch(() => {});
      if (this.#lines.get(id) !== line) return;
    }
    this.#lines.delete(id);
  }
}
