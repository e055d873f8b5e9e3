import { MarlineError } from '#libs/common';

type NumberArray = ArrayLike<number | bigint> & Iterable<number | bigint>;

interface ElementType {
  /** The open inference protocol's name. */
  readonly datatype: string;
  readonly array: { new (buffer: ArrayBuffer): NumberArray; readonly BYTES_PER_ELEMENT: number };
}

/** By NumPy's names; `=` and big-endian files are refused, because the bytes are taken as they lie. */
const TYPES: Readonly<Record<string, ElementType>> = {
  '|b1': { datatype: 'BOOL', array: Uint8Array },
  '|u1': { datatype: 'UINT8', array: Uint8Array },
  '<u2': { datatype: 'UINT16', array: Uint16Array },
  '<u4': { datatype: 'UINT32', array: Uint32Array },
  '<u8': { datatype: 'UINT64', array: BigUint64Array },
  '|i1': { datatype: 'INT8', array: Int8Array },
  '<i2': { datatype: 'INT16', array: Int16Array },
  '<i4': { datatype: 'INT32', array: Int32Array },
  '<i8': { datatype: 'INT64', array: BigInt64Array },
  '<f4': { datatype: 'FP32', array: Float32Array },
  '<f8': { datatype: 'FP64', array: Float64Array },
};

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

/** True for the bytes of a NumPy array file. */
export function isNpy(bytes: Buffer): boolean {
  return bytes.subarray(0, MAGIC.length).equals(MAGIC);
}

/**
 * Writes a NumPy array (`numpy.save`, format 1 to 3) as a request of the open inference protocol with one input.
 * @param name the model's input
 * @returns the JSON text; 64-bit integers and doubles keep all their digits
 * @throws MarlineError `INVALID_INPUT` for other element types, big-endian or column-major data, and for truncated files
 */
export function npyToInferenceRequest(bytes: Buffer, name: string): string {
  const wide = bytes.length > 6 && bytes[6]! >= 2;
  const start = wide ? 12 : 10;
  if (bytes.length < start) throw invalid('it ends within its header');
  const end = start + (wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  const header = bytes.toString('latin1', start, end);
  const type = readType(header);
  const shape = readShape(header);
  const data = new type.array(
    new Uint8Array(bytes.subarray(end)).buffer.slice(0, sizeOf(shape, type, bytes.length - end)),
  );
  const values = Array.from(data, (value) => format(value, type)).join(',');
  return `{"inputs":[{"name":${JSON.stringify(name)},"shape":${JSON.stringify(shape)},"datatype":"${type.datatype}","data":[${values}]}]}`;
}

function readType(header: string): ElementType {
  const descr = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const type = TYPES[descr ?? ''];
  if (type === undefined)
    throw invalid(`its element type is ${descr ?? 'not given'}; use one of ${Object.keys(TYPES).join(' ')}`);
  if (!/'fortran_order':\s*False/.test(header))
    throw invalid('it is in column-major order; save numpy.ascontiguousarray(x)');
  return type;
}

function readShape(header: string): number[] {
  const list = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (list === undefined) throw invalid('its header has no shape');
  return list
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(Number);
}

function sizeOf(shape: readonly number[], type: ElementType, available: number): number {
  const size = shape.reduce((product, dimension) => product * dimension, type.array.BYTES_PER_ELEMENT);
  if (size > available)
    throw invalid(`shape [${shape.join(', ')}] needs ${size} bytes, the file has ${available}`);
  return size;
}

function format(value: number | bigint, type: ElementType): string {
  if (type.datatype === 'BOOL') return value === 0 ? 'false' : 'true';
  if (typeof value === 'number' && !Number.isFinite(value))
    throw invalid(`it contains ${value}, which JSON cannot carry`);
  return String(value);
}

function invalid(problem: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason: `This NumPy file cannot be sent: ${problem}.` });
}
