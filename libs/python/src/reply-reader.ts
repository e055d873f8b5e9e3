import { MarlineError, type Header } from '#libs/common';

/** The answer to one request of a batch, or a part of it. */
export interface Prediction {
  readonly id: string;
  readonly contentType: string;
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly Header[];
  readonly body: Buffer;
}

/** What the worker says to a frame. With any code but 200 only `code` and `message` count. */
export interface Reply {
  readonly code: number;
  readonly message: string;
  readonly predictions: readonly Prediction[];
}

/** How much a worker may say. */
export interface ReplyLimits {
  /** Bytes of one body. */
  readonly maxBodyBytes: number;
  /** Predictions of one reply: no more than a batch has requests. */
  readonly maxPredictions: () => number;
}

/** Longest name, value, message or content type. */
const MAX_TEXT_BYTES = 64 * 1024;
const MAX_HEADERS = 256;
const INTEGER_BYTES = 4;
const END_OF_LIST = -1;

/**
 * Puts the replies of TorchServe's worker together from the pieces in which they come. Code of archives can write what it
 * likes to the socket, so every length is checked before anything is kept for it.
 */
export class ReplyReader {
  readonly #limits: ReplyLimits;
  readonly #received: (reply: Reply) => void;
  readonly #chunks: Buffer[] = [];
  #available = 0;
  #parser: Generator<number, Reply, Buffer>;
  #needed: number;
  #paused = false;

  /** @param received is called for every reply, in order */
  constructor(limits: ReplyLimits, received: (reply: Reply) => void) {
    this.#limits = limits;
    this.#received = received;
    this.#parser = parseReply(limits);
    this.#needed = this.#first();
  }

  /** Takes what arrived. @throws MarlineError `WORKER_DIED` for what is no reply; then nothing more can be read */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#available += chunk.length;
    this.#read();
  }

  /** From now on, also within a call of {@link ReplyReader.push}, no reply is told. */
  pause(): void {
    this.#paused = true;
  }

  /** Tells the replies that came meanwhile. @throws MarlineError as {@link ReplyReader.push} */
  resume(): void {
    this.#paused = false;
    this.#read();
  }

  #read(): void {
    while (!this.#paused && this.#available >= this.#needed) {
      const { value, done } = this.#parser.next(this.#take(this.#needed));
      if (done !== true) {
        this.#needed = value;
        continue;
      }
      this.#parser = parseReply(this.#limits);
      this.#needed = this.#first();
      this.#received(value);
    }
  }

  #first(): number {
    return this.#parser.next(Buffer.alloc(0)).value as number;
  }

  #take(size: number): Buffer {
    this.#available -= size;
    const [first] = this.#chunks;
    if (first !== undefined && first.length > size) {
      this.#chunks[0] = first.subarray(size);
      return first.subarray(0, size);
    }
    const parts: Buffer[] = [];
    let missing = size;
    while (missing > 0) {
      const chunk = this.#chunks.shift() as Buffer;
      if (chunk.length > missing) this.#chunks.unshift(chunk.subarray(missing));
      parts.push(chunk.subarray(0, missing));
      missing -= Math.min(missing, chunk.length);
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, size);
  }
}

/** Asks for numbers of bytes, is given them, and returns the reply. */
function* parseReply({ maxBodyBytes, maxPredictions }: ReplyLimits): Generator<number, Reply, Buffer> {
  const code = (yield INTEGER_BYTES).readInt32BE();
  const message = yield* parseText('message');
  const predictions: Prediction[] = [];
  for (;;) {
    const idLength = (yield INTEGER_BYTES).readInt32BE();
    if (idLength === END_OF_LIST) return { code, message, predictions };
    if (predictions.length >= maxPredictions())
      throw garbage(`a reply with more than ${maxPredictions()} predictions`);
    const id = (yield checked('request id', idLength, MAX_TEXT_BYTES)).toString();
    const contentType = yield* parseText('content type');
    const status = (yield INTEGER_BYTES).readInt32BE();
    const reason = yield* parseText('reason phrase');
    const headers = yield* parseHeaders();
    const bodyLength = checked('body', (yield INTEGER_BYTES).readInt32BE(), maxBodyBytes);
    predictions.push({ id, contentType, status, reason, headers, body: yield bodyLength });
  }
}

function* parseHeaders(): Generator<number, Header[], Buffer> {
  const count = checked('list of headers', (yield INTEGER_BYTES).readInt32BE(), MAX_HEADERS);
  const headers: Header[] = [];
  while (headers.length < count) {
    const name = yield* parseText('header');
    headers.push([name, yield* parseText('header')]);
  }
  return headers;
}

function* parseText(what: string): Generator<number, string, Buffer> {
  const length = checked(what, (yield INTEGER_BYTES).readInt32BE(), MAX_TEXT_BYTES);
  return (yield length).toString();
}

function checked(what: string, length: number, limit: number): number {
  if (length >= 0 && length <= limit) return length;
  throw garbage(`a ${what} of length ${length}, and at most ${limit} are allowed`);
}

function garbage(what: string): MarlineError {
  const cause = new Error(`The Python worker sent ${what}.`);
  return new MarlineError('WORKER_DIED', {}, { cause });
}
