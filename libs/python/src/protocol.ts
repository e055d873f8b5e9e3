import type { HeaderText, Parameter } from '#libs/common';

/** What TorchServe's worker is told to load, once, before anything else. */
export interface LoadRequest {
  readonly modelName: string;
  /** Absolute path of the unpacked archive. */
  readonly modelDir: string;
  /** Most requests of one batch. */
  readonly batchSize: number;
  /** `file.py`, `file.py:function`, or the name of a handler of TorchServe. */
  readonly handler: string;
  /** `null`: no GPU. */
  readonly gpuId: number | null;
  /** The name of a request envelope of TorchServe; empty for none. */
  readonly envelope: string;
  /** Makes Pillow refuse images that would need gigabytes. */
  readonly limitMaxImagePixels: boolean;
}

/** One request of a batch. */
export interface InferRequest {
  readonly id: string;
  readonly headers: HeaderText;
  readonly parameters: readonly Parameter[];
}

const LOAD = 0x4c;
const INFER = 0x49;
const END_OF_LIST = -1;
const NO_GPU = -1;
const FIRST_SIZE = 1024;

/**
 * The frame that loads a model. Integers are big-endian, texts and bytes have their length in front (TorchServe's
 * `ts/protocol/otf_message_handler.py`).
 */
export function encodeLoad(request: LoadRequest): Buffer {
  const frame = new FrameWriter(LOAD);
  frame.text(request.modelName);
  frame.text(request.modelDir);
  frame.integer(request.batchSize);
  frame.text(request.handler);
  frame.integer(request.gpuId ?? NO_GPU);
  frame.text(request.envelope);
  frame.byte(request.limitMaxImagePixels ? 1 : 0);
  return frame.done();
}

/** The frame that runs a batch; nothing of the requests is kept. */
export function encodeInfer(batch: readonly InferRequest[]): Buffer {
  const frame = new FrameWriter(INFER);
  for (const { id, headers, parameters } of batch) {
    frame.text(id);
    // Names and values in turn: for the frame they are all texts.
    if (headers !== '') for (const text of headers.split('\n')) frame.text(text);
    frame.integer(END_OF_LIST);
    for (const { name, contentType, value } of parameters) {
      frame.text(name);
      frame.text(contentType);
      frame.bytes(value);
    }
    frame.integer(END_OF_LIST);
  }
  frame.integer(END_OF_LIST);
  return frame.done();
}

/** Bytes that grow as they are written. */
class FrameWriter {
  #buffer: Buffer = Buffer.allocUnsafe(FIRST_SIZE);
  #size = 0;

  constructor(command: number) {
    this.byte(command);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#size = this.#buffer.writeUInt8(value, this.#size);
  }

  integer(value: number): void {
    this.#reserve(4);
    this.#size = this.#buffer.writeInt32BE(value, this.#size);
  }

  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.integer(length);
    this.#reserve(length);
    this.#size += this.#buffer.write(value, this.#size);
  }

  bytes(value: Uint8Array): void {
    this.integer(value.byteLength);
    this.#reserve(value.byteLength);
    this.#buffer.set(value, this.#size);
    this.#size += value.byteLength;
  }

  done(): Buffer {
    return this.#buffer.subarray(0, this.#size);
  }

  #reserve(length: number): void {
    const needed = this.#size + length;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#size);
    this.#buffer = larger;
  }
}
