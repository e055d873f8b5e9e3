import type { HeaderText, Parameter, RawInput } from '#libs/common';
import type { HandlerRequest, RequestValue } from './base-handler.js';

/**
 * A request as handlers see it (TorchServe's rules): `application/json`, in exactly these letters, is parsed, or stays
 * bytes when it does not parse; what starts with `text` is a string; all else is bytes. Of a repeated name the last wins.
 * @param decodes false leaves all as bytes
 */
export function decodeRequest({ parameters }: RawInput, decodes = true): HandlerRequest {
  // fromEntries defines own properties, so a form field called __proto__ is just a name.
  return Object.fromEntries(
    parameters.map((parameter) => [parameter.name, decodes ? decodeValue(parameter) : parameter.value]),
  );
}

/**
 * What the hooks of one item get: the request's `data`, else its `body`, else all of its parameters by name. What is no
 * request by names, because an envelope held a bare value, is that value.
 */
export function itemInput(request: RequestValue): RequestValue {
  if (!isNamed(request)) return request;
  return request['data'] ?? request['body'] ?? request;
}

/** True for values by name, as a request or an object in JSON has them. */
export function isNamed(value: unknown): value is HandlerRequest {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

/** Headers by name in their own letter case; of a repeated one the last wins. */
export function headerRecord(headers: HeaderText): Readonly<Record<string, string>> {
  if (headers === '') return {};
  const lines = headers.split('\n');
  return Object.fromEntries(
    Array.from({ length: lines.length / 2 }, (_, index) => [
      lines[2 * index] ?? '',
      lines[2 * index + 1] ?? '',
    ]),
  );
}

function decodeValue({ contentType, value }: Parameter): RequestValue {
  try {
    // Fatal, so that bytes that are no UTF-8 reach the handler as they came.
    if (contentType === 'application/json') return JSON.parse(decode(value)) as RequestValue;
    if (contentType.startsWith('text')) return decode(value);
  } catch {
    return value;
  }
  return value;
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
}
