import {
  MarlineError,
  type BatchItem,
  type BatchSink,
  type Header,
  type HookTimings,
  type ItemOutput,
  type ItemResult,
} from '#libs/common';
import type { PendingAnswer } from './pending-answer.js';

/** One request on its way through a worker, or through several batches of it. */
export interface Run {
  item: BatchItem;
  readonly pending: PendingAnswer;
  /** When its first batch began; while it is missing, it is in its first one. */
  startedAt?: number;
  /** True from a reply that announces another until the next batch begins. */
  goesOn?: boolean;
  /** Bytes of its answer that its reader has not taken. */
  unreadBytes?: number;
}

/** Bytes of one answer that may wait for their reader, beside the part that is new. */
const MOST_UNREAD_BYTES = 4 * 1024 * 1024;
/** What a part costs beside its text. */
const PART_BYTES = 128;
const NEXT = 'ts_stream_next';

/**
 * The answers of one batch of a worker that remembers its requests. A reply with the header `ts_stream_next: true` is one part of an
 * answer: its request is in the next batch again, however fast its reader is, because what is missing from a batch counts as
 * gone. So parts wait for slow readers up to a bound, and who falls further behind gets no more.
 */
export class CycleAnswers implements BatchSink {
  /**
   * @param answers of what is complete
   * @param continuous false: every reply is the last one
   * @param ended gets the header of a reply that ends sequences: their ids, separated by semicolons
   */
  constructor(
    private readonly runs: ReadonlyMap<string, Run>,
    private readonly answers: BatchSink,
    private readonly continuous: boolean,
    private readonly endHeader: string,
    private readonly ended: (ids: readonly string[]) => void,
  ) {}

  chunk(id: string, chunk: ItemResult): Promise<void> {
    return this.answers.chunk(id, chunk);
  }

  result(id: string, result: ItemResult): void {
    const run = this.runs.get(id);
    const ids = valueOf(result.headers, this.endHeader);
    if (ids !== undefined) this.ended(ids.split(';').map((each) => each.trim()));
    if (run === undefined || !this.continuous || valueOf(result.headers, NEXT) !== 'true')
      this.answers.result(id, result);
    else if (run.pending.unread) this.answers.result(id, result);
    else this.#part(id, run, result);
  }

  error(id: string, error: MarlineError): void {
    this.answers.error(id, error);
  }

  ran(items: number, durationMs: number, hooks?: HookTimings): void {
    this.answers.ran(items, durationMs, hooks);
  }

  #part(id: string, run: Run, part: ItemResult): void {
    const { unreadBytes = 0 } = run;
    if (unreadBytes > MOST_UNREAD_BYTES) {
      const cause = new Error(`The answer is read so slowly that ${unreadBytes} bytes of it wait.`);
      this.answers.error(id, new MarlineError('OUT_OF_RESOURCES', {}, { cause }));
      return;
    }
    run.goesOn = true;
    run.unreadBytes = unreadBytes + PART_BYTES + sizeOf(part.output);
    void this.#read(run, part);
  }

  /** Resolves when the reader has taken all that there is, and never when another part comes before that. */
  async #read(run: Run, part: ItemResult): Promise<void> {
    await run.pending.chunk(part);
    run.unreadBytes = 0;
  }
}

function valueOf(headers: readonly Header[], name: string): string | undefined {
  return headers.find(([own]) => own === name)?.[1];
}

function sizeOf(output: ItemOutput): number {
  if (output.kind === 'text') return output.text.length;
  return output.kind === 'bytes' ? output.bytes.byteLength : 0;
}
