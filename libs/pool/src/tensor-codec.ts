import { arrayTypeOf, type DType, type Tensor, type TensorData, type Tensors } from '#libs/common';
import type { PacketReader, PacketWriter } from './packet.js';

/** The element types by the number that stands for them. */
const DTYPES: readonly DType[] = [
  'float32',
  'float64',
  'float16',
  'int8',
  'uint8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'bool',
  'string',
];
/** ONNX knows no such rank; a longer list would only cost time. */
const MAX_RANK = 64;

/** @throws TypeError when the data is not of the element type, or its buffer was moved away before */
export function writeTensors(packet: PacketWriter, tensors: Tensors): void {
  const { values } = packet;
  const countAt = values.push(0) - 1;
  let count = 0;
  for (const name in tensors) {
    const tensor = tensors[name];
    if (tensor === undefined) continue;
    count += 1;
    values.push(name);
    writeTensor(packet, tensor);
  }
  values[countAt] = count;
}

function writeTensor(packet: PacketWriter, { dtype, shape, data }: Tensor): void {
  const { values } = packet;
  values.push(DTYPES.indexOf(dtype), shape.length);
  for (const dimension of shape) packet.number(dimension);
  if (dtype === 'string') {
    if (!Array.isArray(data)) throw unfit(dtype);
    values.push(data.length);
    for (const text of data) packet.text(text);
  } else {
    // The bytes alone do not say what they are: a float64 array would be read as twice as many float32.
    if (!(data instanceof arrayTypeOf(dtype))) throw unfit(dtype);
    packet.bytes(data);
  }
}

/** @param own every tensor gets a buffer that nothing else is in */
export function readTensors(packet: PacketReader, own: boolean): Tensors {
  const tensors: Record<string, Tensor> = {};
  for (let count = packet.count(packet.left); count > 0; count -= 1) {
    // Not an assignment: a tensor may be called __proto__.
    const name = packet.text();
    const tensor = readTensor(packet, own);
    if (name === '__proto__') Object.defineProperty(tensors, name, { value: tensor, enumerable: true });
    else tensors[name] = tensor;
  }
  return tensors;
}

function readTensor(packet: PacketReader, own: boolean): Tensor {
  const dtype = DTYPES[packet.number()];
  if (dtype === undefined)
    throw new TypeError('A message between worker and pool names no known element type.');
  const shape = Array.from({ length: packet.count(MAX_RANK) }, () => packet.number());
  return { dtype, shape, data: readData(packet, dtype, own) };
}

function readData(packet: PacketReader, dtype: DType, own: boolean): TensorData {
  if (dtype === 'string') return Array.from({ length: packet.count(packet.left) }, () => packet.text());
  const { buffer, byteOffset, byteLength } = packet.bytes(own);
  const type = arrayTypeOf(dtype);
  return new type(buffer, byteOffset, byteLength / type.BYTES_PER_ELEMENT);
}

function unfit(dtype: DType): TypeError {
  const expected = dtype === 'string' ? 'string[]' : arrayTypeOf(dtype).name;
  return new TypeError(`A ${dtype} tensor needs its data as ${expected}.`);
}
