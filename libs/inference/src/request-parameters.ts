import { MarlineError, type HeaderText, type Parameter } from '#libs/common';
import { recycleTaken } from '#libs/pool';
import { parseMultipart } from './multipart.js';

/** Most fields of a form: as many as no honest client sends, few enough to cost nothing. */
const MAX_FIELDS = 1000;
const FORMS = new Map<string, 'urlencoded' | 'multipart'>([
  ['application/x-www-form-urlencoded', 'urlencoded'],
  ['multipart/form-data', 'multipart'],
]);

/**
 * The parameters in a body, as TorchServe finds them: fields of a form or of a multipart body, and otherwise
 * the one parameter `body`. A repeated field counts with its last value; every value has a buffer of its own.
 * The body itself is given away, or back.
 * @param contentType the header as the client sent it
 * @throws MarlineError `INVALID_INPUT` for a form or a multipart body that is broken
 */
export function toParameters(contentType: string | undefined, body: Buffer<ArrayBuffer>): Parameter[] {
  const mediaType = mediaTypeOf(contentType);
  const form = FORMS.get(mediaType) ?? FORMS.get(mediaType.toLowerCase());
  if (form === 'urlencoded') return lastOfEach(formFields(body));
  const boundary = form === 'multipart' ? boundaryOf(contentType ?? '') : undefined;
  if (boundary !== undefined) {
    const parts = parseMultipart(body, boundary, MAX_FIELDS);
    recycleTaken(body.buffer);
    return lastOfEach(parts);
  }
  return [{ name: 'body', contentType: mediaType, value: body }];
}

/** The parameters in the query of a URL, each with its last value. */
export function queryParameters(url: string): Parameter[] {
  const start = url.indexOf('?');
  if (start === -1) return [];
  // TorchServe separates them by ";" as well.
  const query = new URLSearchParams(url.slice(start + 1).replaceAll(';', '&'));
  return [...new Map(query)].map(([name, value]) => ({
    name,
    contentType: '',
    value: new Uint8Array(Buffer.from(value)),
  }));
}

/** What a route tells the handler by headers; routes that leave one out tell nothing. */
export interface RouteHeaders {
  /** Whether an explanation is asked for. */
  readonly explain?: boolean;
  /** What stands in the path behind the version. */
  readonly urlPath?: string;
}

/**
 * The request's headers for a handler: in the client's letter case and order, and last those that TorchServe adds
 * (the length of a body that came without one, `explain`, `url_path`). Of a repeated name the last counts, so a client
 * cannot set what the route sets.
 * @param rawHeaders names and values in turn, as Node gives them
 * @param length bytes of a body whose length the client did not say
 */
export function toHeaders(
  rawHeaders: readonly string[],
  { explain, urlPath }: RouteHeaders,
  length?: number,
): HeaderText {
  const lines = [...rawHeaders];
  if (length !== undefined) lines.push('content-length', String(length));
  if (explain !== undefined) lines.push('explain', explain ? 'True' : 'False');
  // A path can have a line feed (as %0A), and it must not become a header of its own.
  if (urlPath !== undefined) lines.push('url_path', urlPath.replaceAll('\n', ' '));
  return lines.join('\n');
}

function mediaTypeOf(contentType = ''): string {
  const end = contentType.indexOf(';');
  return (end === -1 ? contentType : contentType.slice(0, end)).trim();
}

function boundaryOf(contentType: string): string | undefined {
  const match = /;\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(contentType);
  return match?.[1] ?? match?.[2];
}

// A key without "=" is no field for TorchServe, so that the text of a `curl -d` does not become one by accident.
function formFields(body: Buffer): Parameter[] {
  const fields: Parameter[] = [];
  for (let start = 0; start < body.length;) {
    const next = body.indexOf('&', start);
    const pair = body.subarray(start, next === -1 ? body.length : next);
    const equals = pair.indexOf('=');
    if (equals !== -1) {
      const name = Buffer.from(unescaped(pair.subarray(0, equals))).toString();
      fields.push({ name, contentType: '', value: unescaped(pair.subarray(equals + 1)) });
    }
    if (fields.length > MAX_FIELDS)
      throw new MarlineError('INVALID_INPUT', { reason: `The form has more than ${MAX_FIELDS} fields.` });
    start += pair.length + 1;
  }
  return fields;
}

const PERCENT = 0x25;
const PLUS = 0x2b;
const BLANK = 0x20;

function unescaped(text: Buffer): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  let size = 0;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i] ?? 0;
    if (byte === PERCENT) {
      const digits = text.toString('latin1', i + 1, i + 3);
      if (!/^[\da-f]{2}$/i.test(digits)) {
        throw new MarlineError('INVALID_INPUT', {
          reason:
            'The form has a "%" without two hexadecimal digits after it. Send what is no form (curl calls everything one) with its own content type, such as application/octet-stream.',
        });
      }
      bytes[size++] = Number.parseInt(digits, 16);
      i += 2;
    } else {
      bytes[size++] = byte === PLUS ? BLANK : byte;
    }
  }
  return bytes.slice(0, size);
}

/** Of repeated names the last. */
export function lastOfEach(parameters: readonly Parameter[]): Parameter[] {
  return [...new Map(parameters.map((parameter) => [parameter.name, parameter])).values()];
}
