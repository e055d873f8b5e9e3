import { Connection, type Outcome } from './connection.js';
import type { LoadTarget } from './load-target.js';

/** Carries requests to what is measured. */
export interface Transport {
  /**
   * Sends the next request now.
   * @param done told once what became of it, never during the call
   * @returns false, and sends nothing, when as many requests are under way as may be
   */
  send(done: (outcome: Outcome) => void): boolean;
}

/** Requests of one target over HTTP/1.1, each on a connection of its own while it is under way. */
export class HttpTransport implements Transport {
  readonly #target: LoadTarget;
  readonly #limits: { readonly maxConnections: number; readonly timeoutMs: number };
  readonly #all = new Set<Connection>();
  /** The one that was used last is used next, so that what a peak opened can be closed by the server. */
  #free: Connection[] = [];
  #next = 0;

  constructor(target: LoadTarget, limits: { readonly maxConnections: number; readonly timeoutMs: number }) {
    this.#target = target;
    this.#limits = limits;
  }

  send(done: (outcome: Outcome) => void): boolean {
    const connection = this.#free.pop() ?? this.#open();
    if (connection === undefined) return false;
    const { requests } = this.#target;
    const request = requests[this.#next++ % requests.length]!;
    connection.exchange(request, this.#limits.timeoutMs, (outcome) => {
      if (connection.usable) this.#free.push(connection);
      done(outcome);
    });
    return true;
  }

  /** Ends all connections; requests under way are forgotten. */
  close(): void {
    for (const connection of this.#all) connection.destroy();
  }

  #open(): Connection | undefined {
    if (this.#all.size >= this.#limits.maxConnections) return undefined;
    const connection: Connection = new Connection(this.#target.address, () => {
      this.#all.delete(connection);
      const index = this.#free.indexOf(connection);
      if (index >= 0) this.#free.splice(index, 1);
    });
    this.#all.add(connection);
    return connection;
  }
}
