import type { FastifyRequest } from 'fastify';
import type { Parameter, RawInput } from '#libs/common';
import type { PredictionTarget } from './prediction-responder.js';
import { lastOfEach, toHeaders, toParameters, type RouteHeaders } from './request-parameters.js';

/** A model that is asked by one of TorchServe's routes: its handler gets the request as it came. */
export class RawTarget implements PredictionTarget {
  /**
   * @param version the default version when not given
   * @param headers what the route tells the handler beside the client's headers
   * @param query parameters that come before those in the body; of a repeated name the last counts
   * @param body what was read already to find the model, taken apart
   */
  constructor(
    readonly model: string,
    readonly version: string | undefined,
    private readonly headers: RouteHeaders,
    private readonly query: readonly Parameter[] = [],
    private readonly body?: ReadBody,
  ) {}

  get isRead(): boolean {
    return this.body !== undefined;
  }

  input({ raw, headers }: FastifyRequest, bytes: Buffer<ArrayBuffer>): RawInput {
    const { length, parameters } = this.body ?? readBody(headers['content-type'], bytes);
    const undeclared = headers['content-length'] === undefined ? length : undefined;
    return {
      kind: 'raw',
      headers: toHeaders(raw.rawHeaders, this.headers, undeclared),
      parameters: this.query.length === 0 ? parameters : lastOfEach([...this.query, ...parameters]),
    };
  }
}

/** A body that was taken apart. */
export interface ReadBody {
  /** In bytes. */
  readonly length: number;
  readonly parameters: readonly Parameter[];
}

/** @throws MarlineError `INVALID_INPUT` for a form that is broken */
export function readBody(contentType: string | undefined, bytes: Buffer<ArrayBuffer>): ReadBody {
  // Before the parameters, which give the buffer away.
  const length = bytes.byteLength;
  return { length, parameters: toParameters(contentType, bytes) };
}
