import { MarlineError, type ItemOutput } from '#libs/common';

/** The longest answer that stays a string: a longer one costs less as bytes, which are moved to another thread and not copied. */
const MAX_TEXT = 16 * 1024;

/** As deep as Python's own encoder goes; a deeper answer is a cycle in disguise or a mistake. */
const MAX_DEPTH = 1000;

/**
 * The body of an answer: bytes go out as they are, strings as UTF-8, all else as JSON in TorchServe's form (indented by
 * two, everything beyond ASCII escaped, keys in insertion order).
 *
 * A `Map` with string keys is written as an object, and keeps keys such as `"7"` in its order, which a plain object does
 * not. Typed arrays are written as arrays. NaN and infinities become `null`: JSON has no word for them.
 * @throws MarlineError `OUTPUT_NOT_SERIALIZABLE` for what JSON cannot say: functions, symbols, bigint, cycles, sets, promises, …
 */
export function encodeOutput(value: unknown): ItemOutput {
  if (value instanceof Uint8Array) return { kind: 'bytes', bytes: value, encoding: 'binary' };
  if (value instanceof ArrayBuffer)
    return { kind: 'bytes', bytes: new Uint8Array(value), encoding: 'binary' };
  if (typeof value === 'string') return textOutput(value, 'text');
  try {
    return jsonOutput(toJson(value, '\n', []));
  } catch (cause) {
    throw new MarlineError('OUTPUT_NOT_SERIALIZABLE', {}, { cause });
  }
}

/** JSON as an answer: a string, or bytes when it is long. */
export function jsonOutput(json: string): ItemOutput {
  return textOutput(json, 'json');
}

/**
 * The same JSON on one line, as Python's `json.dumps` has it without an indent.
 * @throws MarlineError `OUTPUT_NOT_SERIALIZABLE`
 */
export function oneLineJson(value: object): string {
  try {
    // A text in JSON has no line ends: all that are there belong to the form.
    return toJson(value, '\n', []).replace(/,\n */g, ', ').replace(/\n */g, '');
  } catch (cause) {
    throw new MarlineError('OUTPUT_NOT_SERIALIZABLE', {}, { cause });
  }
}

function toJson(value: unknown, newline: string, parents: readonly unknown[]): string {
  switch (typeof value) {
    case 'string':
      return quoteAscii(value);
    case 'number':
      return Number.isFinite(value) ? String(value) : 'null';
    case 'boolean':
      return String(value);
    case 'object':
      return value === null ? 'null' : compound(value, newline, parents);
    default:
      throw new TypeError(`An answer cannot contain a ${typeof value}.`);
  }
}

function compound(value: object, newline: string, parents: readonly unknown[]): string {
  if (parents.includes(value)) throw new TypeError('An answer cannot contain itself.');
  if (parents.length >= MAX_DEPTH) throw new TypeError(`An answer is nested at most ${MAX_DEPTH} deep.`);
  const inner = `${newline}  `;
  const path = [...parents, value];
  if (Array.isArray(value) || isTypedArray(value)) {
    const items: string[] = [];
    for (const item of value as Iterable<unknown>) items.push(toJson(item, inner, path));
    return wrap('[', items, ']', newline);
  }
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    return toJson((value.toJSON as () => unknown)(), newline, path);
  }
  const members = entriesOf(value).map(([key, item]) => `${quoteAscii(key)}: ${toJson(item, inner, path)}`);
  return wrap('{', members, '}', newline);
}

function entriesOf(value: object): readonly (readonly [string, unknown])[] {
  if (value instanceof Map) {
    return [...(value as Map<unknown, unknown>)].map(([key, item]) => {
      if (typeof key !== 'string') throw new TypeError('The keys of a map in an answer are strings.');
      return [key, item];
    });
  }
  const tag = Object.prototype.toString.call(value);
  if (tag !== '[object Object]') throw new TypeError(`An answer cannot contain a ${tag.slice(8, -1)}.`);
  return Object.entries(value).filter(([, item]) => item !== undefined);
}

function wrap(open: string, items: readonly string[], close: string, newline: string): string {
  if (items.length === 0) return open + close;
  return `${open}${newline}  ${items.join(`,${newline}  `)}${newline}${close}`;
}

function isTypedArray(value: object): boolean {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

/** A string of JSON, all beyond ASCII escaped. */
export function quoteAscii(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function textOutput(text: string, encoding: 'json' | 'text'): ItemOutput {
  if (text.length <= MAX_TEXT) return { kind: 'text', text, encoding };
  return { kind: 'bytes', bytes: new TextEncoder().encode(text), encoding };
}
