import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { MarlineError } from '#libs/common';
import { goneSignal } from './grpc-call.js';

/** Writes the messages of one call, each after its client has taken the one before it. */
export class MessageWriter<Message> {
  readonly #gone: Promise<never>;

  constructor(
    private readonly call: ServerWritableStream<unknown, Message> | ServerDuplexStream<unknown, Message>,
  ) {
    const signal = goneSignal(call);
    this.#gone = new Promise((_resolve, reject) => {
      const leave = () => reject(new MarlineError('REQUEST_CANCELLED'));
      if (signal.aborted) leave();
      else signal.addEventListener('abort', leave, { once: true });
    });
    // Whoever writes hears of it; between two messages nobody listens.
    this.#gone.catch(() => {});
  }

  /** Resolves when there is room for the next. @throws MarlineError `REQUEST_CANCELLED` when the client is gone: then grpc-js calls back no more */
  async write(message: Message): Promise<void> {
    const taken = new Promise<void>((resolve) => this.call.write(message, () => resolve()));
    await Promise.race([taken, this.#gone]);
  }
}

/** The requests of a call, each when it is asked for; ends, without an error, also when the client leaves. */
export async function* requestsOf<Request>(
  call: ServerDuplexStream<Request, unknown>,
): AsyncGenerator<Request> {
  call.on('cancelled', () => call.destroy());
  try {
    // The stream is a duplex: the end of its requests must not destroy it before the answers are out.
    for await (const request of call.iterator({ destroyOnReturn: false })) yield request as Request;
  } catch (error) {
    if (!call.cancelled) throw error;
  }
}
