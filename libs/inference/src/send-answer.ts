import { once } from 'node:events';
import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { MarlineError, type Header, type ItemOutput, type ItemResult } from '#libs/common';
import { encodeOutput, encodeTensors } from '#libs/handler';
import type { PredictionAnswer } from './prediction.js';
import { sendBody, type ResponseHead } from './response-head.js';

const JSON_TYPE: readonly Header[] = [['content-type', 'application/json']];

/**
 * Sends an answer: one result at once, a stream as fast as its client reads.
 * @param native leaves out the fields that only TorchServe's routes have
 * @returns when a stream is over; nothing to wait for otherwise
 * @throws MarlineError `INVALID_OUTPUT` for a status that is none
 */
export function sendAnswer(
  reply: FastifyReply,
  answer: PredictionAnswer,
  native: boolean,
): Promise<unknown> | undefined {
  if (answer.streaming) return sendStream(reply, answer.first, answer.rest, native);
  sendBody(reply, headOf(answer.result, native), bodyOf(answer.result.output));
  return undefined;
}

function sendStream(
  reply: FastifyReply,
  first: ItemResult,
  rest: AsyncIterable<ItemResult>,
  native: boolean,
): Promise<unknown> {
  async function* chunks(): AsyncGenerator<Buffer> {
    yield Buffer.from(bodyOf(first.output));
    for await (const { output } of rest) yield Buffer.from(bodyOf(output));
  }
  const over = once(reply.raw, 'close');
  sendBody(reply, headOf(first, native), Readable.from(chunks(), { highWaterMark: 1 }));
  return over;
}

function headOf(result: ItemResult, native: boolean): ResponseHead {
  const { status, reason, headers } = result;
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new MarlineError(
      'INVALID_OUTPUT',
      {},
      { cause: new Error(`The handler set the status ${status}; 200 to 599 are possible.`) },
    );
  }
  if (!native) return { status, reason, headers };
  return {
    status,
    reason: reason === '' ? undefined : reason,
    headers: headers.length === 0 && isJson(result.output) ? JSON_TYPE : headers,
    native,
  };
}

function isJson(output: ItemOutput): boolean {
  return output.kind === 'tensors' || output.kind === 'value' || output.encoding === 'json';
}

/** The body that an output has on the wire. */
export function bodyOf(output: ItemOutput): Buffer | string {
  switch (output.kind) {
    case 'text':
      return output.text;
    case 'bytes':
      return Buffer.from(output.bytes.buffer, output.bytes.byteOffset, output.bytes.byteLength);
    case 'tensors':
      return bodyOf(encodeOutput({ outputs: encodeTensors(output.tensors) }));
    case 'value':
      return bodyOf(encodeOutput(output.value));
  }
}
