import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { messageOf } from '#libs/common';
import { ResponseParser } from './http-response.js';

/** Why a request got no answer: no connection, a connection that ended early, no answer in time, or no HTTP. */
export const FAILURES = ['connect', 'closed', 'time-out', 'not HTTP'] as const;
export type Failure = (typeof FAILURES)[number];

/** What became of one request. */
export type Outcome =
  | { readonly kind: 'answer'; readonly status: number }
  | { readonly kind: 'failure'; readonly failure: Failure; readonly detail: string };

export interface Address {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
}

/** One connection to a server, kept alive, with at most one request on it. */
export class Connection {
  readonly #socket: Socket;
  readonly #parser: ResponseParser;
  #connected = false;
  #closed = false;
  #done: ((outcome: Outcome) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param onClose told once, when no further request can be sent
   * @param onBody gets the parts of the answers' bodies; they are valid only during the call
   */
  constructor(
    address: Address,
    private readonly onClose: () => void,
    onBody?: (bytes: Buffer) => void,
  ) {
    this.#parser = new ResponseParser(onBody);
    this.#socket = open(address)
      .setNoDelay(true)
      .once(address.secure ? 'secureConnect' : 'connect', () => (this.#connected = true))
      .on('data', (bytes) => this.#read(bytes))
      .on('end', () => this.#end())
      .on('error', (error) => this.#fail(this.#connected ? 'closed' : 'connect', codeOf(error)))
      .on('close', () => this.#fail('closed', 'the connection was closed'));
  }

  /** Sends a request, when the one before it is done. `done` is called once, never during the call. */
  exchange(request: Uint8Array, timeoutMs: number, done: (outcome: Outcome) => void): void {
    this.#done = done;
    this.#parser.reset();
    this.#timer = setTimeout(
      () => this.#fail('time-out', `no complete answer within ${timeoutMs} ms`),
      timeoutMs,
    );
    this.#socket.write(request);
  }

  /** True when another request can be sent. */
  get usable(): boolean {
    return !this.#closed;
  }

  /** Ends the connection; a request on it is forgotten. */
  destroy(): void {
    this.#done = undefined;
    this.#close();
  }

  #read(bytes: Buffer): void {
    if (this.#closed) return;
    if (this.#done === undefined) return this.#close();
    let complete: boolean;
    try {
      complete = this.#parser.feed(bytes);
    } catch (error) {
      return this.#fail('not HTTP', messageOf(error));
    }
    if (complete) this.#answered();
  }

  #end(): void {
    if (this.#done !== undefined && this.#parser.end()) this.#answered();
    else this.#fail('closed', 'the server closed the connection');
  }

  #answered(): void {
    // A server that answers before it has read the whole request will not read another one from where this one stopped.
    if (!this.#parser.keepAlive || this.#socket.writableLength > 0) this.#close();
    this.#settle({ kind: 'answer', status: this.#parser.status });
  }

  #fail(failure: Failure, detail: string): void {
    if (this.#closed) return;
    this.#close();
    this.#settle({ kind: 'failure', failure, detail });
  }

  #settle(outcome: Outcome): void {
    const done = this.#done;
    this.#done = undefined;
    clearTimeout(this.#timer);
    done?.(outcome);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket.destroy();
    this.onClose();
  }
}

function open({ secure, host, port }: Address): Socket {
  if (!secure) return connectTcp({ host, port });
  return connectTls({ host, port, ALPNProtocols: ['http/1.1'], ...(isIP(host) ? {} : { servername: host }) });
}

function codeOf(error: Error & { code?: string }): string {
  return error.code ?? error.message;
}
