const SCRATCH_BYTES = 16 * 1024;
/** More than any number and its comma take. */
const NUMBER_BYTES = 32;
/** 10^0 to 10^22: all the powers of ten that a double holds exactly. */
const POWERS = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
/** Most digits that 32 bits need, and the fewest that are tried. */
const DIGITS = 9;
const FEWEST_DIGITS = 7;
/** What is written without a power of ten. */
const SMALLEST = 1e-6;
const LARGEST = 1e9;

const scratch = Buffer.alloc(SCRATCH_BYTES);

/**
 * 32-bit floats as JSON numbers, separated by commas, in as few digits as read back to the same 32 bits (0.1 instead of the
 * 0.10000000149011612 that the same number has as a double): half as long, and written at a quarter of the cost. NaN and infinities become `null`.
 *
 * A number of digits is right when the digits over their power of ten round back to the value: up to 2^53 and 10^22 that
 * one division of doubles is what reading the text does.
 */
export function shortFloatsText(data: Float32Array, from: number, to: number): string {
  let text = '';
  let at = 0;
  for (let index = from; index < to; index++) {
    if (at > SCRATCH_BYTES - NUMBER_BYTES) {
      text += scratch.toString('latin1', 0, at);
      at = 0;
    }
    if (index > from) scratch[at++] = 0x2c;
    at = write(data[index] as number, at);
  }
  return text + scratch.toString('latin1', 0, at);
}

/** Writes one number, and gives the position behind it. */
function write(value: number, start: number): number {
  let at = start;
  const size = value < 0 ? -value : value;
  if (!(size >= SMALLEST && size < LARGEST)) return at + scratch.write(finiteText(value), at, 'latin1');
  if (value < 0) scratch[at++] = 0x2d;
  // Digits in front of the point; 0 or less are zeros behind it.
  let whole = 1;
  if (size >= 1) while (size >= (POWERS[whole] as number)) whole++;
  else for (whole = 0; size * (POWERS[1 - whole] as number) < 1;) whole--;
  let digits = FEWEST_DIGITS;
  let number = 0;
  for (; ; digits++) {
    const power = digits - whole;
    const scale = POWERS[power < 0 ? -power : power] as number;
    number = Math.round(power < 0 ? size / scale : size * scale);
    if (digits === DIGITS || Math.fround(power < 0 ? number * scale : number / scale) === size) break;
  }
  return writeDecimal(number, digits - whole, at);
}

/** Writes `number` over 10 to the power of `places`. */
function writeDecimal(number: number, places: number, start: number): number {
  let rest = number;
  let left = places;
  while (left > 0 && rest % 10 === 0) {
    rest /= 10;
    left--;
  }
  for (; left < 0; left++) rest *= 10;
  let length = 1;
  while (rest >= (POWERS[length] as number)) length++;
  // At least one digit stands in front of the point.
  if (length <= left) length = left + 1;
  const end = start + length + (left > 0 ? 1 : 0);
  for (let at = end - 1; at >= start; at--) {
    if (left > 0 && at === end - 1 - left) {
      scratch[at] = 0x2e;
      continue;
    }
    const tens = (rest / 10) | 0;
    scratch[at] = 0x30 + (rest - tens * 10);
    rest = tens;
  }
  return end;
}

function finiteText(value: number): string {
  if (!Number.isFinite(value)) return 'null';
  return String(value);
}
