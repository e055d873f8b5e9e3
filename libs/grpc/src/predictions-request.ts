import type { RawInput } from '#libs/common';

/** `PredictionsRequest` of inference.proto, as proto-loader decodes it. */
export interface PredictionsRequest {
  readonly model_name: string;
  readonly model_version: string;
  readonly input: Readonly<Record<string, Buffer>>;
  readonly sequence_id?: string;
}

/** What marks the end of a sequence among the inputs of a request. */
const SEQUENCE_END = 'ts_request_sequence_end';
const SEQUENCE_ID = 'ts_request_sequence_id';

/** The entries of `input` for a handler, as TorchServe gives them: parameters without a content type, and no headers. */
export function rawInputOf({ input }: PredictionsRequest): RawInput {
  const parameters = Object.entries(input).map(([name, value]) => ({ name, contentType: '', value }));
  return { kind: 'raw', headers: '', parameters };
}

/** The same for one request of a sequence: the headers say which, and whether it is the last. */
export function sequenceInputOf(request: PredictionsRequest): RawInput {
  const isLast = request.input[SEQUENCE_END]?.toString().toLowerCase() === 'true';
  const id = `${SEQUENCE_ID}\n${request.sequence_id?.replaceAll('\n', ' ')}`;
  return { ...rawInputOf(request), headers: isLast ? `${id}\n${SEQUENCE_END}\ntrue` : id };
}
