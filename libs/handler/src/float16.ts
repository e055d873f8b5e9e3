/**
 * IEEE 754 half precision, as a tensor of dtype `float16` holds it: 1 sign, 5 exponent and 10 fraction bits.
 * Node 20 has no Float16Array.
 */

/** The largest finite value. */
export const FLOAT16_MAX = 65504;

/** The 16 bits nearest to `value`, ties to even; beyond {@link FLOAT16_MAX} infinity. */
export function float16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  if (Number.isNaN(value)) return 0x7e00;
  const size = Math.abs(value);
  // 65520 lies half way between the largest value and the next power of two, and ties go to the even one.
  if (size >= 65520) return sign | 0x7c00;
  let exponent = size === 0 ? -14 : Math.max(-14, Math.floor(Math.log2(size)));
  // log2 may be off by one next to a power of two.
  if (2 ** (exponent + 1) <= size) exponent++;
  if (exponent > -14 && 2 ** exponent > size) exponent--;
  const significand = roundToEven(size / 2 ** (exponent - 10));
  // A carry out of the fraction lands in the exponent, which is what rounding up means; subnormals have exponent bits 0.
  return sign | (exponent === -14 ? significand : ((exponent + 15) << 10) + significand - 1024);
}

/** The number that 16 bits stand for. */
export function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
