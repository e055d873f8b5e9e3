import { describe, expect, it } from 'vitest';
import { isNpy, npyToInferenceRequest } from './npy.js';

function npy(descr: string, shape: string, data: Uint8Array, fortran = 'False'): Buffer {
  const header = `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;
  const length = Buffer.from([header.length & 0xff, header.length >> 8]);
  return Buffer.concat([
    Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
    length,
    Buffer.from(header, 'latin1'),
    data,
  ]);
}

const floats = new Uint8Array(Float32Array.of(1, -0.5, 2, 3, 4, 5).buffer);

describe('npyToInferenceRequest', () => {
  it('writes the array as one input', () => {
    const file = npy('<f4', '(2, 3)', floats);
    expect(isNpy(file)).toBe(true);
    expect(JSON.parse(npyToInferenceRequest(file, 'x'))).toEqual({
      inputs: [{ name: 'x', shape: [2, 3], datatype: 'FP32', data: [1, -0.5, 2, 3, 4, 5] }],
    });
  });

  it('keeps all digits of 64-bit integers and writes booleans as such', () => {
    const big = npyToInferenceRequest(
      npy('<i8', '(1,)', new Uint8Array(BigInt64Array.of(9007199254740993n).buffer)),
      'x',
    );
    expect(big).toContain('"data":[9007199254740993]');
    expect(npyToInferenceRequest(npy('|b1', '(2,)', Uint8Array.of(0, 1)), 'x')).toContain(
      '"data":[false,true]',
    );
  });

  it('takes a scalar', () => {
    expect(npyToInferenceRequest(npy('<f4', '()', floats.slice(0, 4)), 'x')).toContain(
      '"shape":[],"datatype":"FP32","data":[1]',
    );
  });

  it.each([
    ['big-endian numbers', npy('>f4', '(2,)', floats), 'element type is >f4'],
    ['column-major order', npy('<f4', '(2, 3)', floats, 'True'), 'column-major'],
    ['missing bytes', npy('<f4', '(7,)', floats), 'shape [7] needs 28 bytes, the file has 24'],
    ['a cut header', Buffer.from('\x93NUMPY\x01', 'latin1'), 'ends within its header'],
    [
      'what JSON has no number for',
      npy('<f4', '(1,)', new Uint8Array(Float32Array.of(Number.NaN).buffer)),
      'contains NaN',
    ],
  ])('refuses %s', (_, file, message) => {
    expect(() => npyToInferenceRequest(file, 'x')).toThrow(message);
  });
});
