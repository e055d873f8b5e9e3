/** Begins the text that stands for a number; JSON's own texts hold it only escaped. */
const MARK = '\u0000';
const TOKENS = /("(?:[^"\\]|\\.)*")|-?(?:\d[\d.eE+-]*|Infinity|NaN)/g;
const MARKED = /"\\u0000([^"]*)"/g;

/**
 * Reads JSON without changing its numbers: `1.0` is not `1`, and neither 2^53 + 1 nor Python's `NaN` is lost.
 * @returns the value, in which numbers are what only {@link exactText} and {@link exactNumber} understand
 * @throws SyntaxError for what is no JSON
 */
export function parseExact(text: string): unknown {
  return JSON.parse(text.replace(TOKENS, (token, quoted?: string) => quoted ?? `"\\u0000${token}"`));
}

/** Compact JSON of a value of {@link parseExact}, its numbers as they were written. */
export function exactText(value: unknown): string {
  return JSON.stringify(value).replace(MARKED, '$1');
}

/** A value of {@link parseExact} that is no object or array: a number as the text that it was written as, all else as it is. */
export function exactNumber(value: unknown): unknown {
  return typeof value === 'string' && value.startsWith(MARK) ? value.slice(MARK.length) : value;
}
