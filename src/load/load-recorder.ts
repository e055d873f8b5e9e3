import { FAILURES, type Failure, type Outcome } from './connection.js';
import { LatencyHistogram, type LatencySummary } from './latency.js';

/** What a server answers while it has too much to do. */
const REFUSALS = [429, 503];

/** How many requests got no answer for one reason, with the first one's story. */
export interface FailureCount {
  readonly failure: Failure;
  readonly count: number;
  readonly example: string;
}

/**
 * What was measured. Requests count when they were due within the time measured, after the warm-up; a latency lasts from
 * when its request was due, so that a server which stalls is charged with every request that had to wait.
 */
export interface LoadMeasurement {
  /** Seconds measured, without warm-up. */
  readonly seconds: number;
  /** Requests that were due. */
  readonly due: number;
  /** Of these: never sent, because as many as may be were under way until the end. */
  readonly unsent: number;
  /** Of these: sent, and neither answered nor failed when the run was interrupted. */
  readonly unanswered: number;
  /** Answers by HTTP status. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly failures: readonly FailureCount[];
  /** Answers with a status of 200 to 299 per second, by the time at which they came. */
  readonly throughput: number;
  /** Such answers per second that came within the deadline; without a deadline, at any time. */
  readonly goodput: number;
  /** Latency of the answers with a status of 200 to 299. */
  readonly latencyMs: LatencySummary | null;
  /** Latency of the answers with 429 and 503. */
  readonly refusalLatencyMs: LatencySummary | null;
  /** How much later than due requests were sent. */
  readonly sendDelayMs: LatencySummary | null;
  /** Per cent of the answers, and the latency in milliseconds that they did not exceed. */
  readonly percentiles: readonly (readonly [percent: number, ms: number])[];
}

const CURVE = [1, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.9, 99.95, 99.99, 99.999, 100];

/** Counts what becomes of requests between two times. */
export class LoadRecorder {
  readonly #latency = new LatencyHistogram();
  readonly #refusals = new LatencyHistogram();
  readonly #sendDelay = new LatencyHistogram();
  readonly #statuses = new Map<number, number>();
  readonly #failures = new Map<Failure, { count: number; example: string }>();
  #unsent = 0;
  #sent = 0;
  #settled = 0;
  #arrived = 0;
  #good = 0;

  /** @param options.from, options.to the time measured, in milliseconds of the run's clock */
  constructor(
    private readonly options: { readonly from: number; readonly to: number; readonly deadlineMs?: number },
  ) {}

  sent(dueAt: number, now: number): void {
    if (!this.#counts(dueAt)) return;
    this.#sent++;
    this.#sendDelay.record(now - dueAt);
  }

  /** A request that was due and will not be sent. */
  unsent(dueAt: number): void {
    if (this.#counts(dueAt)) this.#unsent++;
  }

  settled(dueAt: number, now: number, outcome: Outcome): void {
    const succeeded = outcome.kind === 'answer' && outcome.status >= 200 && outcome.status < 300;
    if (succeeded && this.#counts(now)) this.#arrived++;
    if (!this.#counts(dueAt)) return;
    this.#settled++;
    if (outcome.kind === 'failure') return this.#failed(outcome.failure, outcome.detail);
    this.#statuses.set(outcome.status, (this.#statuses.get(outcome.status) ?? 0) + 1);
    const latency = now - dueAt;
    if (succeeded) {
      this.#latency.record(latency);
      if (latency <= (this.options.deadlineMs ?? Infinity)) this.#good++;
    } else if (REFUSALS.includes(outcome.status)) {
      this.#refusals.record(latency);
    }
  }

  /** @param endedAt when sending ended: earlier than planned after an interruption */
  result(endedAt: number): LoadMeasurement {
    const { from, to } = this.options;
    const seconds = Math.max(0, Math.min(to, endedAt) - from) / 1000;
    const perSecond = (count: number) => (seconds === 0 ? 0 : count / seconds);
    return {
      seconds,
      due: this.#sent + this.#unsent,
      unsent: this.#unsent,
      unanswered: this.#sent - this.#settled,
      statuses: Object.fromEntries([...this.#statuses].toSorted(([a], [b]) => a - b)),
      failures: FAILURES.flatMap((failure) => {
        const counted = this.#failures.get(failure);
        return counted === undefined ? [] : [{ failure, ...counted }];
      }),
      throughput: perSecond(this.#arrived),
      goodput: perSecond(this.#good),
      latencyMs: this.#latency.summary() ?? null,
      refusalLatencyMs: this.#refusals.summary() ?? null,
      sendDelayMs: this.#sendDelay.summary() ?? null,
      percentiles:
        this.#latency.count === 0 ? [] : CURVE.map((share) => [share, this.#latency.percentile(share)]),
    };
  }

  #counts(at: number): boolean {
    return at >= this.options.from && at < this.options.to;
  }

  #failed(failure: Failure, example: string): void {
    const counted = this.#failures.get(failure) ?? { count: 0, example };
    counted.count++;
    this.#failures.set(failure, counted);
  }
}
