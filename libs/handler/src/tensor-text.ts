import type { Tensor } from '#libs/common';
import { float16Value } from './float16.js';

/**
 * The elements from index `from` to before `to` as JSON, each behind `separator` but the first: numbers as JavaScript writes
 * them, NaN and infinities as `null`, 64-bit integers beyond 2^53 as decimal strings. One text is built, and no list of numbers.
 * @param quote how strings are written
 */
export function elementsText(
  { dtype, data }: Tensor,
  from: number,
  to: number,
  separator: string,
  quote: (text: string) => string,
): string {
  switch (dtype) {
    case 'float32':
    case 'float64':
      return floatsText(data as Float32Array | Float64Array, from, to, separator);
    case 'bool':
      return joined(from, to, separator, (index) => (data[index] === 0 ? 'false' : 'true'));
    case 'float16':
      return joined(from, to, separator, (index) => finiteText(float16Value(data[index] as number)));
    case 'int64':
    case 'uint64':
      return joined(from, to, separator, (index) => longText(data[index] as bigint));
    case 'string':
      return joined(from, to, separator, (index) => quote(data[index] as string));
    default:
      return joined(from, to, separator, (index) => String(data[index]));
  }
}

function floatsText(data: Float32Array | Float64Array, from: number, to: number, separator: string): string {
  let text = '';
  for (let index = from; index < to; index++) {
    const value = data[index] as number;
    if (index > from) text += separator;
    // Only NaN and infinities have no difference of 0 to themselves.
    text += value - value === 0 ? value : 'null';
  }
  return text;
}

function joined(from: number, to: number, separator: string, textAt: (index: number) => string): string {
  let text = '';
  for (let index = from; index < to; index++)
    text += index === from ? textAt(index) : separator + textAt(index);
  return text;
}

function finiteText(value: number): string {
  return Number.isFinite(value) ? String(value) : 'null';
}

function longText(value: bigint): string {
  return Number.isSafeInteger(Number(value)) ? String(value) : `"${value}"`;
}
