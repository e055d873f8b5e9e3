import type { MarlineError } from '#libs/common';
import { torchServeErrorOf } from './grpc-status.js';

/** `google.rpc.Status`: the error of one answer in a stream that goes on. */
export interface InBandStatus {
  readonly code: number;
  readonly message: string;
  readonly details: readonly { readonly type_url: string; readonly value: Buffer }[];
}

const ERROR_INFO = 'type.googleapis.com/google.rpc.ErrorInfo';
/** Protobuf's tag of `ErrorInfo.reason`: field 1, with its length in front. */
const REASON_TAG = 0x0a;

/** An error inside a stream of TorchServe's inference service; the reason is the class that Java has for it. */
export function inBandStatus(error: MarlineError): InBandStatus {
  const { code, message, className } = torchServeErrorOf(error, 'predictions');
  // The names of classes are shorter than the 128 bytes from which on a length takes two.
  const value = Buffer.concat([Buffer.from([REASON_TAG, className.length]), Buffer.from(className)]);
  return { code, message, details: [{ type_url: ERROR_INFO, value }] };
}
