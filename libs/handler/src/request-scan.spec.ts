import { describe, expect, it } from 'vitest';
import { arrayTypeOf, tensor, type Tensor } from '#libs/common';
import { parseRequest, ScannedData } from './request-scan.js';
import { TensorArena } from './tensor-arena.js';

const bytesOf = (text: string) => new Uint8Array(Buffer.from(`\u0000${text}`)).subarray(1);
const parse = (text: string) => parseRequest(bytesOf(text)) as { inputs: { data: unknown }[] };
const dataOf = (text: string) => parse(text).inputs[0]?.data;
/** A request whose one input has this text as its data. */
const request = (data: string, shape = '[3]', datatype = 'FP32') =>
  `{"inputs":[{"name":"x","shape":${shape},"datatype":"${datatype}","data":${data}}]}`;
const scanned = (text: string): Tensor | undefined => {
  const data = dataOf(text);
  return data instanceof ScannedData ? data.tensor : undefined;
};

/** Reproducible, so that a failure comes again. */
function randomBy(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('numbers read from bytes', () => {
  it.each([
    ['[1,2,3]', '[3]'],
    ['[ 1 ,\t2\r,\n3 ]', '[3]'],
    ['[-0,0.5,-1.25e2]', '[3]'],
    ['[[1,2],[3,4]]', '[2,2]'],
    ['[1,2,3,4]', '[2,2]'],
    ['[ [ [1] , [2] ] , [ [3] , [4] ] ]', '[2, 2 ,1]'],
    ['[1E5,1e+5,1e-5]', '[3]'],
    ['[0.30000001192092896,1.00000005960464477539,1.00000017881393432617]', '[3]'],
    ['[123456789012345.6,1234567890123456,12345678901234567890]', '[3]'],
    ['[1e-46,1.4e-45,7.006492321624085e-46]', '[3]'],
    ['[0.00000000000000000000000000000000000000000001,0e999,0.0e-999]', '[3]'],
    ['[3.4028234663852886e38,-3.4028235e38,1e-300]', '[3]'],
    ['[3.4028235677973364e38,1,2]', '[3]'],
  ])('%s of shape %s is what JSON.parse makes of it', (data, shape) => {
    const expected = Float32Array.from((JSON.parse(data) as number[][]).flat(3));
    const found = scanned(request(data, shape));
    if (expected.every(Number.isFinite)) expect(found?.data).toEqual(expected);
    else expect(found).toBeUndefined();
    if (found !== undefined)
      expect(
        Array.from(found.data as Float32Array, (value, i) => Object.is(value, expected[i])),
      ).not.toContain(false);
  });

  it('agrees with JSON.parse on any float, however it is written', () => {
    const random = randomBy(1);
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    const texts: string[] = [];
    while (texts.length < 20_000) {
      bits[0] = random() * 2 ** 32;
      const value = float[0] as number;
      if (!Number.isFinite(value)) continue;
      const half = value + (random() - 0.5) * Math.abs(value) * 2 ** -23;
      texts.push(
        String(value),
        value.toExponential(8),
        value.toPrecision(1 + Math.floor(random() * 21)),
        // As near as can be to the middle of two neighbours, where rounding is decided by the last digit.
        half.toPrecision(17),
        ((value + float[0]! * (1 + 2 ** -23)) / 2).toPrecision(21),
        (random() * 10 ** Math.floor(random() * 30)).toFixed(Math.floor(random() * 20)),
      );
    }
    const finite = texts.filter((text) => Number.isFinite(Math.fround(Number(text))));
    const found = scanned(request(`[${finite.join()}]`, `[${finite.length}]`))?.data as Float32Array;
    const wrong = finite.filter((text, i) => !Object.is(found[i], Math.fround(JSON.parse(text) as number)));
    expect(wrong).toEqual([]);
  });

  it.each([
    ['INT8', 'int8', '[-128,127,-0]'],
    ['UINT8', 'uint8', '[0,255,7]'],
    ['INT16', 'int16', '[-32768,32767,0]'],
    ['UINT16', 'uint16', '[0,65535,1]'],
    ['INT32', 'int32', '[-2147483648,2147483647,1]'],
    ['UINT32', 'uint32', '[0,4294967295,1]'],
  ] as const)('reads %s', (datatype, dtype, data) => {
    const found = scanned(request(data, '[3]', datatype));
    expect(found).toEqual(tensor(dtype, arrayTypeOf(dtype).from(JSON.parse(data) as number[]), [3]));
  });

  it('reads 64-bit integers by their halves', () => {
    const values = [
      0, 1, -1, 4294967295, 4294967296, -4294967296, -4294967297, 999999999999999, -999999999999999,
    ];
    const found = scanned(request(JSON.stringify(values), '[9]', 'INT64'));
    expect(found?.data).toEqual(BigInt64Array.from(values, BigInt));
    expect(scanned(request('[0,4294967297,3]', '[3]', 'UINT64'))?.data).toEqual(
      BigUint64Array.from([0n, 4294967297n, 3n]),
    );
  });

  it.each([
    ['a float for an integer', request('[1.0,2,3]', '[3]', 'INT32')],
    ['an integer out of range', request('[1,2,128]', '[3]', 'INT8')],
    ['a negative unsigned integer', request('[1,2,-1]', '[3]', 'UINT64')],
    ['an integer of 16 digits', request('[1,2,9007199254740993]', '[3]', 'INT64')],
    ['strings', request('["1","2","3"]', '[3]', 'INT64')],
    ['doubles', request('[1,2,3]', '[3]', 'FP64')],
    ['bools', request('[true,false,true]', '[3]', 'BOOL')],
    ['too few', request('[1,2]')],
    ['too many', request('[1,2,3,4]')],
    ['ragged', request('[[1,2],[3]]', '[2,2]')],
    ['nested too deep', request('[[[1]]]', '[1,1]')],
    ['nested not deep enough', request('[[1],2]', '[2,1]')],
    ['null', request('[1,null,3]')],
    ['too large a float', request('[1,2,1e39]')],
    ['a gigantic shape', request('[1,2,3]', '[268435456]')],
    ['a negative shape', request('[1,2,3]', '[-3]')],
    ['an unknown datatype', request('[1,2,3]', '[3]', 'BF16')],
    ['no elements', request('[]', '[0]')],
    ['data before its datatype', '{"inputs":[{"data":[1],"shape":[1],"datatype":"FP32"}]}'],
    ['a key in escapes', '{"inputs":[{"shape":[1],"datatype":"FP32","d\\u0061ta":[0]}]}'],
    ['a datatype that changes', '{"inputs":[{"shape":[1],"datatype":"FP32","data":[7],"datatype":"INT8"}]}'],
    ['a shape that changes', '{"inputs":[{"shape":[1],"datatype":"FP32","data":[7],"shape":[1,1]}]}'],
    ['inputs that change', '{"inputs":[{"shape":[1],"datatype":"FP32","data":[7]}],"inputs":[]}'],
    ['data that changes', '{"inputs":[{"shape":[1],"datatype":"FP32","data":[7],"data":[0]}]}'],
    ['data that becomes a text', '{"inputs":[{"shape":[1],"datatype":"FP32","data":[7],"data":"x"}]}'],
    ['inputs inside a text', '{"id":"{\\"inputs\\":[{\\"shape\\":[1],\\"data\\":[7]}]}"}'],
    ['no object', '[1,2,3]'],
    ['a bare number', '7'],
    ['an empty object', '{}'],
    ['no inputs', '{"inputs":[]}'],
  ])('leaves %s to JSON.parse', (_what, text) => {
    const value = parse(text);
    if (value.inputs?.[0]?.data instanceof ScannedData)
      // Only of a repeated key may the last value have been scanned as well.
      expect(text).toContain('"data":[0]');
    else expect(value).toEqual(JSON.parse(text));
  });

  it.each([
    '[01,2,3]',
    '[1.,2,3]',
    '[.5,2,3]',
    '[+1,2,3]',
    '[1,2,3,]',
    '[1,,3]',
    '[1 2,3]',
    '[1e,2,3]',
    '[1e+,2,3]',
    '[--1,2,3]',
    '[-,2,3]',
    '[0x1,2,3]',
    '[NaN,2,3]',
    '[Infinity,2,3]',
    '[1,2,3',
    '[1,2,3}',
    '[1_0,2,3]',
    '[1,2,3]]',
    '[1,2,3],',
    '[1,2,3] x',
    '[\u00a01,2,3]',
    '[00,2,3]',
    '[-01,2,3]',
    '[1.5.5,2,3]',
  ])('refuses %s as JSON.parse does', (data) => {
    expect(() => parse(request(data))).toThrow(SyntaxError);
    expect(() => parse(request(data, '[3]', 'INT32'))).toThrow(SyntaxError);
  });

  it.each([
    '',
    ' ',
    '{',
    '{"inputs"',
    '{"inputs":',
    '{"inputs":[',
    '{"inputs":[{',
    '{"inputs":[{"data":[1',
    '\u0000',
  ])('refuses the fragment %j', (text) => {
    expect(() => parse(text)).toThrow(SyntaxError);
  });

  it('reads what stands around the data, in any order and spacing, as JSON.parse does', () => {
    const text = ` { "parameters" : { "a" : [ "]" , { "b" : "\\"}" } ] } , "id" : "ü😀",
      "inputs" : [ { "name" : "é", "parameters" : {"data":[1]}, "datatype" : "FP32" , "shape" : [ 1 , 2 ] , "data" : [ 1 , 2 ], "more": [3] } ,
                   { "shape":[2],"name":"ids","datatype":"INT64","data":[3,4] } ] , "outputs" : [ { "name" : "y" } ] } `;
    const value = parse(text);
    const expected = JSON.parse(text) as typeof value;
    expect(value.inputs.map(({ data }) => (data as ScannedData).tensor)).toEqual([
      tensor('float32', Float32Array.of(1, 2), [1, 2]),
      tensor('int64', BigInt64Array.of(3n, 4n), [2]),
    ]);
    const without = (given: typeof value) => ({
      ...given,
      inputs: given.inputs.map((input) => ({ ...input, data: 0 })),
    });
    expect(without(value)).toEqual(without(expected));
  });

  it('takes a byte order mark, and bytes that are no UTF-8, as a decoder does', () => {
    expect(parse(`\ufeff${request('[1,2,3]', '[3]', 'FP64')}`)).toEqual(
      JSON.parse(request('[1,2,3]', '[3]', 'FP64')),
    );
    const broken = new Uint8Array([...bytesOf('{"id":"'), 0xff, ...bytesOf('"}')]);
    expect(parseRequest(broken)).toEqual({ id: '\ufffd' });
  });

  it('agrees with JSON.parse on requests with a byte changed, dropped or doubled', () => {
    const random = randomBy(7);
    const base = [
      ...bytesOf(
        request('[[1.5,-2e3],[0.25,40]]', '[2,2]').replace(
          '}]}',
          '},{"name":"i","datatype":"INT64","shape":[2],"data":[5,6]}],"id":"a"}',
        ),
      ),
    ];
    const letters = [...bytesOf('0123456789.,-+eE[]{}" \\:\nnulltrue')];
    for (let round = 0; round < 20_000; round++) {
      const bytes = [...base];
      const at = Math.floor(random() * bytes.length);
      const letter = letters[Math.floor(random() * letters.length)] as number;
      const kind = random();
      bytes.splice(at, kind < 0.7 ? 1 : 0, ...(kind < 0.4 || kind > 0.7 ? [letter] : []));
      const text = Buffer.from(bytes).toString();
      const expected = outcome(() => flattened(JSON.parse(text)));
      const own = outcome(() => plainly(parseRequest(Uint8Array.from(bytes))));
      expect(own, text).toEqual(expected);
    }
  });

  it('gives back the memory of what it did not take', () => {
    const arena = new TensorArena();
    parseRequest(bytesOf(request('[1,2,3]')), arena);
    const mark = arena.mark;
    expect(mark).toBe(12);
    parseRequest(bytesOf(request('[1,2,"3"]')), arena);
    expect(arena.mark).toBe(mark);
  });
});

function outcome(call: () => unknown): { failed: boolean; value?: unknown } {
  try {
    return { failed: false, value: call() };
  } catch {
    return { failed: true };
  }
}

/** Scanned data as the flat list of numbers that it stands for. */
function plainly(value: unknown): unknown {
  return flattened(value, (data) =>
    data instanceof ScannedData ? Array.from(data.tensor.data as Float32Array, Number) : data,
  );
}

/** A request with the data of its inputs as flat lists of what 32 bits hold. */
function flattened(value: unknown, read: (data: unknown) => unknown = (data) => data): unknown {
  const inputs = (value as { inputs?: unknown } | null)?.inputs;
  if (!Array.isArray(inputs)) return value;
  const flat = inputs.map((input: unknown) => {
    if (typeof input !== 'object' || input === null || !('data' in input)) return input;
    const data = read(input.data);
    if (!Array.isArray(data)) return { ...input, data };
    return {
      ...input,
      data: data.flat(9).map((one: unknown) => (typeof one === 'number' ? Math.fround(one) : one)),
    };
  });
  return { ...(value as object), inputs: flat };
}
