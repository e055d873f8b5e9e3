import type { ServerResponse } from 'node:http';
import type { CancelSignal } from './prediction.js';

/**
 * Aborted when a client leaves before its answer is out. An AbortController per request would cost several times as much.
 * Only the response tells it: the request's own `close` comes as soon as its body is read.
 */
export class ClientGone implements CancelSignal {
  #aborted = false;
  #listeners: (() => void)[] | undefined;

  constructor(
    response: Pick<ServerResponse, 'destroyed' | 'writableFinished'> & {
      on(event: 'close', listener: () => void): unknown;
    },
  ) {
    if (response.destroyed) this.#aborted = true;
    else response.on('close', () => response.writableFinished || this.#abort());
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  /** Each listener is called at most once: there is only one `abort`. */
  addEventListener(_type: 'abort', listener: () => void): void {
    (this.#listeners ??= []).push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners?.indexOf(listener) ?? -1;
    if (at !== -1) this.#listeners?.splice(at, 1);
  }

  #abort(): void {
    this.#aborted = true;
    const listeners = this.#listeners;
    this.#listeners = undefined;
    for (const listener of listeners ?? []) listener();
  }
}
