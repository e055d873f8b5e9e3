import { MarlineError, type Parameter } from '#libs/common';
import { takeBuffer } from '#libs/pool';

const CRLF = Buffer.from('\r\n');
const HEAD_END = Buffer.from('\r\n\r\n');
const MAX_PART_HEAD_BYTES = 8192;

/**
 * The parts of a `multipart/form-data` body (RFC 7578) as parameters with buffers of their own. As in TorchServe only a
 * part with a file name keeps a content type (`application/octet-stream` unless it has one); other fields have none.
 * The platform's parser is not used because it reads such fields as text, which breaks their bytes.
 * @throws MarlineError `INVALID_INPUT` when the body is broken or has more than `maxParts` parts
 */
export function parseMultipart(body: Buffer<ArrayBuffer>, boundary: string, maxParts: number): Parameter[] {
  const first = Buffer.from(`--${boundary}`);
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  const parts: Parameter[] = [];
  // The first boundary may stand at the start; all others end the line before them.
  let at = body.subarray(0, first.length).equals(first) ? first.length : after(body, delimiter, 0);
  while (!startsWith(body, '--', at)) {
    if (parts.length === maxParts) throw broken(`has more than ${maxParts} parts`);
    const headStart = after(body, CRLF, at);
    if (body.toString('latin1', at, headStart).trim() !== '')
      throw broken('has a boundary with something behind it');
    const headEnd = startsWith(body, '\r\n', headStart) ? headStart : body.indexOf(HEAD_END, headStart);
    if (headEnd === -1 || headEnd - headStart > MAX_PART_HEAD_BYTES)
      throw broken('has a part without an end of its header');
    const valueStart = headEnd + (headEnd === headStart ? CRLF.length : HEAD_END.length);
    // An empty part's delimiter begins with the line feed that ends its header.
    const valueEnd = body.indexOf(delimiter, valueStart - CRLF.length);
    if (valueEnd === -1) throw broken('does not end with its boundary');
    const value = copyOf(body.subarray(valueStart, Math.max(valueStart, valueEnd)));
    parts.push({ ...describe(body.toString('utf8', headStart, headEnd)), value });
    at = valueEnd + delimiter.length;
  }
  return parts;
}

function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(takeBuffer(bytes.length), 0, bytes.length);
  copy.set(bytes);
  return copy;
}

function describe(head: string): Pick<Parameter, 'name' | 'contentType'> {
  const fields = new Map(
    head.split('\r\n').map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, Math.max(colon, 0)).trim().toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const disposition = attributes(fields.get('content-disposition') ?? '');
  const name = disposition.get('name');
  if (name === undefined) throw broken('has a part without a name');
  const isFile = disposition.has('filename') || disposition.has('filename*');
  const mediaType = fields.get('content-type')?.split(';', 1)[0]?.trim() ?? 'application/octet-stream';
  return { name, contentType: isFile ? mediaType : '' };
}

function attributes(disposition: string): Map<string, string> {
  const pairs = disposition.matchAll(/;\s*([\w*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g);
  return new Map(
    [...pairs].map(([, name = '', quoted, token = '']) => [
      name.toLowerCase(),
      quoted?.replaceAll(/\\(["\\])/g, '$1') ?? token,
    ]),
  );
}

function after(body: Buffer, mark: Buffer, from: number): number {
  const at = body.indexOf(mark, from);
  if (at === -1) throw broken('has no boundary where one belongs');
  return at + mark.length;
}

function startsWith(body: Buffer, text: string, at: number): boolean {
  return body.toString('latin1', at, at + text.length) === text;
}

function broken(what: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason: `The multipart body ${what}.` });
}
