import type { RawInput } from '#libs/common';
import type { SequenceHeaders } from '#libs/inference';

/** `PredictionsRequest` of inference.proto, as proto-loader decodes it. */
export interface PredictionsRequest {
  readonly model_name: string;
  readonly model_version: string;
  readonly input: Readonly<Record<string, Buffer>>;
  readonly sequence_id?: string;
}

/** The entries of `input` for a handler, as TorchServe gives them: parameters without a content type, and no headers. */
export function rawInputOf({ input }: PredictionsRequest): RawInput {
  const parameters = Object.entries(input).map(([name, value]) => ({ name, contentType: '', value }));
  return { kind: 'raw', headers: '', parameters };
}

/** The same for one request of a sequence: the headers say which, and whether it is the last. */
export function sequenceInputOf(request: PredictionsRequest, headers: SequenceHeaders): RawInput {
  const isLast = request.input[headers.end]?.toString().toLowerCase() === 'true';
  const id = `${headers.id}\n${request.sequence_id?.replaceAll('\n', ' ')}`;
  return { ...rawInputOf(request), headers: isLast ? `${id}\n${headers.end}\ntrue` : id };
}
