import type { Outcome } from './connection.js';
import type { Transport } from './http-transport.js';
import { LoadRecorder, type LoadMeasurement } from './load-recorder.js';
import type { LoadClock } from './pacer.js';

/** When requests are sent. */
export type LoadShape =
  /** So many clients, each of which sends its next request when the one before is done: finds the capacity. */
  | { readonly kind: 'closed'; readonly clients: number }
  /** At these times, in milliseconds from the start, whatever becomes of the requests before: shows the latency. */
  | { readonly kind: 'open'; readonly arrivals: Iterator<number, unknown, undefined> };

export interface LoadRunOptions {
  readonly shape: LoadShape;
  readonly warmupMs: number;
  readonly durationMs: number;
  /** What counts as goodput; any time unless given. */
  readonly deadlineMs?: number;
  readonly transport: Transport;
  readonly clock: LoadClock;
  /** Wakes the open loop; more precise than {@link LoadRunOptions.clock}, whose time it shares. */
  readonly pacer?: LoadClock;
  /** Ends the run at once; what was measured so far is the result. */
  readonly signal?: AbortSignal;
}

/** Why a run was over: its time, the caller's signal, or a server that was gone. */
export type LoadEnd = 'complete' | 'interrupted' | 'server gone';

/** A client whose request failed waits so long: a server that is down must not cost a core. */
const PAUSE_MS = 50;
/** Waking costs 50 µs of CPU. Answers are occasions to send as well, so that high rates hardly need waking. */
const LEAST_SLEEP_MS = 0.2;
/** A server is gone when so many requests in a row failed, and none was answered for so long. */
const GONE = { failures: 20, afterMs: 1000 };

/**
 * Runs one load to its end, which includes the answers of what was sent. An open loop's schedule is never slowed: what is
 * due while no more requests may be under way waits here, is sent as soon as one may, and counts from when it was due.
 */
export async function runLoad(options: LoadRunOptions): Promise<LoadMeasurement & { readonly end: LoadEnd }> {
  const run = new LoadRun(options);
  const end = await run.done;
  return { ...run.result(), end };
}

class LoadRun {
  readonly done: Promise<LoadEnd>;
  readonly #options: LoadRunOptions;
  readonly #recorder: LoadRecorder;
  readonly #startedAt: number;
  readonly #timers = new Set<() => void>();
  #finish: (end: LoadEnd) => void = () => {};
  #sending = true;
  #sendingEndedAt: number;
  #end: LoadEnd = 'complete';
  #underWay = 0;
  /** Requests of an open loop that are due and not sent yet. */
  readonly #waiting = new TimeQueue();
  #nextArrival: () => number = () => Infinity;
  #dueAt = Infinity;
  #failuresInARow = 0;
  #answeredAt: number;

  constructor(options: LoadRunOptions) {
    const { shape, warmupMs, durationMs, deadlineMs, clock, signal } = options;
    this.#options = options;
    this.#startedAt = this.#answeredAt = clock.now();
    this.#sendingEndedAt = this.#startedAt + warmupMs + durationMs;
    this.#recorder = new LoadRecorder({
      from: this.#startedAt + warmupMs,
      to: this.#sendingEndedAt,
      deadlineMs,
    });
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    const interrupt = () => this.#stop('interrupted');
    signal?.addEventListener('abort', interrupt, { once: true });
    void this.done.then(() => signal?.removeEventListener('abort', interrupt));
    if (signal?.aborted === true) interrupt();
    else this.#start(shape);
  }

  result(): LoadMeasurement {
    return this.#recorder.result(this.#sendingEndedAt);
  }

  #start(shape: LoadShape): void {
    const { warmupMs, durationMs } = this.#options;
    this.#after(warmupMs + durationMs, () => this.#stop('complete'));
    if (shape.kind === 'closed') {
      for (let client = 0; client < shape.clients; client++) this.#client();
    } else {
      this.#nextArrival = () => this.#startedAt + (shape.arrivals.next().value as number);
      this.#dueAt = this.#nextArrival();
      this.#pace();
    }
  }

  #client(): void {
    if (!this.#sending) return;
    this.#send(this.#options.clock.now(), (outcome) => {
      if (outcome.kind === 'answer') this.#client();
      else this.#after(PAUSE_MS, () => this.#client());
    });
  }

  /** Wakes for the next request that is due, again and again. */
  #pace(): void {
    this.#sendDue();
    if (!this.#sending) return;
    const { clock, pacer = clock } = this.#options;
    pacer.after(Math.max(LEAST_SLEEP_MS, this.#dueAt - clock.now()), () => this.#pace());
  }

  #sendDue(): void {
    if (!this.#sending) return;
    const now = this.#options.clock.now();
    for (; this.#dueAt <= now && this.#dueAt < this.#sendingEndedAt; this.#dueAt = this.#nextArrival())
      this.#waiting.push(this.#dueAt);
    this.#sendWaiting();
  }

  #sendWaiting(): void {
    for (let dueAt = this.#waiting.first; dueAt !== undefined; dueAt = this.#waiting.first) {
      if (!this.#send(dueAt, () => this.#sendDue())) return;
      this.#waiting.shift();
    }
  }

  #send(dueAt: number, then: (outcome: Outcome) => void): boolean {
    const { transport, clock } = this.#options;
    const accepted = transport.send((outcome) => {
      const now = clock.now();
      this.#underWay--;
      this.#recorder.settled(dueAt, now, outcome);
      this.#watch(outcome, now);
      if (this.#sending) then(outcome);
      else if (this.#underWay === 0) this.#finish(this.#end);
    });
    if (!accepted) return false;
    this.#underWay++;
    this.#recorder.sent(dueAt, clock.now());
    return true;
  }

  #watch(outcome: Outcome, now: number): void {
    if (outcome.kind === 'answer') {
      this.#failuresInARow = 0;
      this.#answeredAt = now;
    } else if (++this.#failuresInARow >= GONE.failures && now - this.#answeredAt >= GONE.afterMs) {
      this.#stop('server gone');
    }
  }

  #stop(end: LoadEnd): void {
    if (this.#sending) {
      // What was due since the last wake-up is part of the schedule too.
      if (end === 'complete') this.#sendDue();
      this.#sending = false;
      this.#sendingEndedAt = Math.min(this.#sendingEndedAt, this.#options.clock.now());
      for (const cancel of this.#timers) cancel();
      for (const dueAt of this.#waiting.drain()) this.#recorder.unsent(dueAt);
    }
    if (end !== 'complete') this.#end = end;
    if (this.#underWay === 0 || end !== 'complete') this.#finish(this.#end);
  }

  #after(delayMs: number, callback: () => void): void {
    const cancel = this.#options.clock.after(delayMs, () => {
      this.#timers.delete(cancel);
      callback();
    });
    this.#timers.add(cancel);
  }
}

/** Times in the order in which they came; an array's own shift() would copy a long queue for each of them. */
class TimeQueue {
  #times: number[] = [];
  #from = 0;

  get first(): number | undefined {
    return this.#times[this.#from];
  }

  push(time: number): void {
    this.#times.push(time);
  }

  shift(): void {
    this.#from++;
    if (this.#from < 1024) return;
    this.#times = this.#times.slice(this.#from);
    this.#from = 0;
  }

  drain(): number[] {
    const left = this.#times.slice(this.#from);
    this.#times = [];
    this.#from = 0;
    return left;
  }
}
