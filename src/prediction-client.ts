import { MarlineError } from '#libs/common';
import { isNpy, npyToInferenceRequest } from './npy.js';

/** Which model of which server to ask. */
export interface PredictionTarget {
  /** Base address, with a mount prefix where there is one: `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly model: string;
  /** The default version unless given. */
  readonly version?: string;
  /** The key of the inference API, where the server asks for one. */
  readonly token?: string;
}

/** What the server answered, whatever its status. */
export interface ServerAnswer {
  readonly status: number;
  readonly body: Buffer;
  readonly elapsedMs: number;
}

/** A request's body with its content type. */
export interface Payload {
  readonly contentType: string;
  readonly body: string | Buffer<ArrayBuffer>;
}

const SIGNATURES: readonly (readonly [contentType: string, pattern: RegExp])[] = [
  ['image/jpeg', /^\xff\xd8\xff/],
  ['image/png', /^\x89PNG\r\n/],
  ['image/gif', /^GIF8[79]a/],
  ['image/webp', /^RIFF[^]{4}WEBP/],
  ['image/tiff', /^(?:II\*\0|MM\0\*)/],
];

/**
 * Chooses how to send the bytes of a file: images and JSON by their content, a NumPy array as a tensor in the JSON of
 * the open inference protocol, anything else as `application/octet-stream`.
 * @param input the model's input that a NumPy array is meant for
 */
export function payloadOf(bytes: Buffer<ArrayBuffer>, input: string): Payload {
  if (isNpy(bytes)) return { contentType: 'application/json', body: npyToInferenceRequest(bytes, input) };
  const head = bytes.toString('latin1', 0, 16);
  const contentType = SIGNATURES.find(([, pattern]) => pattern.test(head))?.[0];
  return {
    contentType: contentType ?? (isJson(bytes) ? 'application/json' : 'application/octet-stream'),
    body: bytes,
  };
}

/**
 * The value of `Authorization` that presents a key of the standalone server.
 * @throws MarlineError `INVALID_INPUT` for what is no key; the text does not repeat it
 */
export function bearer(token: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return `Bearer ${token}`;
  const what = token === '' ? 'is empty' : 'has characters that no key has';
  throw new MarlineError('INVALID_INPUT', {
    reason: `The value of --token ${what}. Take the key of "inference" in the server's key_file.json. Nothing was sent.`,
  });
}

/**
 * Sends one prediction.
 * @throws MarlineError `PREDICTION_EXCEPTION` when no server answers, `INVALID_INPUT` when the token is none; a refusal of the
 *   server is an answer
 */
export async function predict(target: PredictionTarget, payload: Payload): Promise<ServerAnswer> {
  const authorization = target.token === undefined ? undefined : bearer(target.token);
  const started = performance.now();
  try {
    const response = await fetch(predictionUrl(target), {
      method: 'POST',
      headers: {
        'content-type': payload.contentType,
        ...(authorization !== undefined && { authorization }),
      },
      body: payload.body,
    });
    const body = Buffer.from(await response.arrayBuffer());
    return { status: response.status, body, elapsedMs: performance.now() - started };
  } catch (error) {
    throw new MarlineError(
      'PREDICTION_EXCEPTION',
      {
        reason: explainFailure(
          target.url,
          (error as { cause?: NetworkFailure }).cause ?? { message: String(error) },
        ),
      },
      { cause: error },
    );
  }
}

/** What an answer says: JSON as a value, text as a string, anything else as `{ base64 }`. */
export function readAnswer(body: Buffer): unknown {
  const text = body.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(body)) return { base64: body.toString('base64') };
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** A refusal in words: its status, and TorchServe's type and message when the body has them. */
export function describeRefusal({ status, body }: Pick<ServerAnswer, 'status' | 'body'>): string {
  const answer = readAnswer(body);
  if (typeof answer === 'object' && answer !== null && 'message' in answer) {
    const type = 'type' in answer ? `${String(answer.type)}: ` : '';
    return `${status} ${type}${String(answer.message)}`;
  }
  const text = typeof answer === 'string' ? answer.trim() : JSON.stringify(answer);
  return text === '' ? `${status} without an explanation` : `${status} ${text}`;
}

/** The route that predicts with the model. */
export function predictionUrl({ url, model, version }: PredictionTarget): string {
  const path = ['predictions', model, ...(version === undefined ? [] : [version])].map(encodeURIComponent);
  return `${url.replace(/\/+$/, '')}/${path.join('/')}`;
}

function isJson(bytes: Buffer): boolean {
  if (!/^\s*[{[]/.test(bytes.toString('latin1', 0, 64))) return false;
  try {
    JSON.parse(bytes.toString('utf8'));
    return true;
  } catch {
    return false;
  }
}

/** What the network said about a request that got no answer. */
interface NetworkFailure {
  readonly code?: string;
  readonly message?: string;
}

/** Why no server answered, and what to do. */
export function explainFailure(url: string, { code, message }: NetworkFailure): string {
  switch (code) {
    case 'ECONNREFUSED':
      return `No server listens at ${url}. Start one with: marline serve --model-store DIR --models all`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `The host of ${url} is not known. Check --url.`;
    default:
      return `${url} did not answer: ${message ?? 'no reason is known'}`;
  }
}
