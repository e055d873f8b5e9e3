import { describe, expect, it } from 'vitest';
import {
  MarlineError,
  tensor,
  type DType,
  type Header,
  type ItemResult,
  type TensorData,
  type Tensors,
} from '#libs/common';
import {
  DoublingModel,
  Pair,
  RecordingSink,
  answerOf,
  bodyItem,
  demoSetup,
  jsonItem,
  protocolItem,
  row,
  runBatch,
  tensorItem,
} from '../../../test/handler/fakes.js';
import { BaseHandler } from './base-handler.js';
import type { ModelBinding } from './handler-context.js';
import { encodeOutput } from './output-encoding.js';
import { encodeTensors } from './tensor-json.js';

const input = (values: readonly number[], extra: object = {}) => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape: [values.length / 2, 2], data: values }],
  ...extra,
});
const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const binaryInput = (bytes: number, shape: number[], extra: object = {}) => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape, parameters: { binary_data_size: bytes } }],
  ...extra,
});
const headerOf = (result: ItemResult | undefined, name: string) =>
  result?.headers.find(([own]) => own.toLowerCase() === name)?.[1];
/** The JSON and the bytes behind it of a binary answer. */
const partsOf = (result: ItemResult | undefined) => {
  const bytes = result?.output.kind === 'bytes' ? result.output.bytes : new Uint8Array();
  const jsonBytes = Number(headerOf(result, 'inference-header-content-length'));
  return {
    json: JSON.parse(Buffer.from(bytes.subarray(0, jsonBytes)).toString()) as unknown,
    tail: bytes.slice(jsonBytes),
  };
};
/** A model that gives its inputs back as its outputs. */
const mirror = (...inputs: [name: string, dtype: DType, ...shape: (number | string)[]][]): ModelBinding => {
  const metadata = inputs.map(([name, dtype, ...shape]) => ({ name, dtype, shape }));
  const copy = ({ dtype, shape, data }: Tensors[string]) => ({
    dtype,
    shape: [...shape],
    data: data.slice(),
  });
  return {
    inputs: metadata,
    outputs: metadata,
    run: (tensors) => Object.fromEntries(Object.entries(tensors).map(([name, one]) => [name, copy(one)])),
  };
};
const messageOf = async (
  item: Parameters<typeof runBatch>[1][number],
  model: ModelBinding = new DoublingModel(),
) => (await runBatch(new BaseHandler(), [item], { model })).errors.get('a')?.message;

describe('requests of the open inference protocol', () => {
  it('are answered in compact JSON, stacked into one run', async () => {
    const model = new DoublingModel();
    const items = [
      protocolItem('a', input([1, 2], { id: 'mine' })),
      protocolItem('b', input([3, 4, 5, 6])),
      protocolItem('c', input([7, 8])),
    ];
    const sink = await runBatch(new BaseHandler(), items, { model });
    expect(model.runs).toEqual([[4, 2]]);
    expect(sink.results.get('a')).toEqual({
      status: 200,
      reason: '',
      headers: [['content-type', 'application/json']],
      output: {
        kind: 'text',
        text: '{"model_name":"demo","model_version":"1.0","id":"mine","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[2,4]}]}',
        encoding: 'json',
      },
    });
    expect(answerOf(sink.results.get('b'))).toMatchObject({
      outputs: [{ shape: [2, 2], data: [6, 8, 10, 12] }],
    });
    expect(answerOf(sink.results.get('c'))).toMatchObject({ outputs: [{ shape: [1, 2], data: [14, 16] }] });
  });

  it.each([
    ['no handler', undefined],
    ['a handler of its own', new Pair()],
    [
      'a handler that wants the whole batch',
      new (class extends BaseHandler {
        override handle = () => [];
      })(),
    ],
  ])('go straight to a model with %s', async (_what, handler) => {
    const sink = await runBatch(handler, [protocolItem('a', input([1, 2]))]);
    expect(answerOf(sink.results.get('a'))).toMatchObject({ outputs: [{ name: 'y', data: [2, 4] }] });
  });

  it('take binary tensors, and give them where they are asked for', async () => {
    const sink = await runBatch(undefined, [
      protocolItem('json', binaryInput(8, [1, 2]), floats(1, 2)),
      protocolItem('all', binaryInput(8, [1, 2], { parameters: { binary_data_output: true } }), floats(3, 4)),
      protocolItem('one', input([5, 6], { outputs: [{ name: 'y', parameters: { binary_data: true } }] })),
      protocolItem(
        'none',
        input([7, 8], {
          parameters: { binary_data_output: true },
          outputs: [{ name: 'y', parameters: { binary_data: false } }],
        }),
      ),
    ]);
    expect(answerOf(sink.results.get('json'))).toMatchObject({ outputs: [{ data: [2, 4] }] });
    expect(answerOf(sink.results.get('none'))).toMatchObject({ outputs: [{ data: [14, 16] }] });
    expect(headerOf(sink.results.get('all'), 'content-type')).toBe('application/octet-stream');
    expect(partsOf(sink.results.get('all'))).toEqual({
      json: {
        model_name: 'demo',
        model_version: '1.0',
        outputs: [{ name: 'y', shape: [1, 2], datatype: 'FP32', parameters: { binary_data_size: 8 } }],
      },
      tail: floats(6, 8),
    });
    expect(partsOf(sink.results.get('one')).tail).toEqual(floats(10, 12));
  });

  it('measure their JSON in bytes, not in letters', async () => {
    const sink = await runBatch(undefined, [
      protocolItem('a', input([1, 2], { id: 'ü😀', parameters: { binary_data_output: true } })),
    ]);
    expect(partsOf(sink.results.get('a'))).toMatchObject({ json: { id: 'ü😀' }, tail: floats(2, 4) });
  });

  it.each<[DType, string, TensorData]>([
    ['bool', 'BOOL', Uint8Array.of(1, 0, 1)],
    ['uint8', 'UINT8', Uint8Array.of(0, 7, 255)],
    ['int16', 'INT16', Int16Array.of(-32768, 0, 32767)],
    ['uint32', 'UINT32', Uint32Array.of(0, 1, 4294967295)],
    ['int64', 'INT64', BigInt64Array.of(-(2n ** 63n), 0n, 2n ** 63n - 1n)],
    ['uint64', 'UINT64', BigUint64Array.of(0n, 1n, 2n ** 64n - 1n)],
    ['float16', 'FP16', Uint16Array.of(0x3c00, 0xc000, 0x7bff)],
    ['float32', 'FP32', Float32Array.of(1.5, Number.NaN, -0)],
    ['float64', 'FP64', Float64Array.of(0.1, -Infinity, 1e300)],
    ['string', 'BYTES', ['', 'ü€😀', 'a\u0000b']],
  ])('carry %s there and back in bytes, wherever they lie', async (dtype, datatype, data) => {
    const texts = Array.isArray(data);
    const bytes = texts ? bytesElements(data) : new Uint8Array(data.buffer);
    const request = (id: string) => ({
      id,
      parameters: { binary_data_output: true },
      inputs: [{ name: 'in', datatype, shape: [3], parameters: { binary_data_size: bytes.byteLength } }],
    });
    // Ids of all lengths, so that the data begins at every alignment.
    const items = Array.from({ length: 8 }, (_, index) =>
      protocolItem(String(index), request('i'.repeat(index)), bytes),
    );
    const sink = await runBatch(undefined, items, { model: mirror(['in', dtype, 'n']) });
    for (const { id } of items) {
      expect(partsOf(sink.results.get(id))).toMatchObject({
        json: { outputs: [{ datatype, shape: [3], parameters: { binary_data_size: bytes.byteLength } }] },
        tail: bytes,
      });
    }
  });

  it('keep several tensors apart, some in JSON and some in bytes', async () => {
    const model = mirror(['a', 'float32', 'n'], ['b', 'int32', 'n'], ['c', 'string', 'n']);
    const request = {
      outputs: [
        { name: 'c' },
        { name: 'b', parameters: { binary_data: true } },
        { name: 'a', parameters: { binary_data: true } },
      ],
      inputs: [
        { name: 'c', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 7 } },
        { name: 'a', datatype: 'FP32', shape: [1], data: [0.5] },
        { name: 'b', datatype: 'INT32', shape: [1], parameters: { binary_data_size: 4 } },
      ],
    };
    const item = (id: string) =>
      protocolItem(id, request, bytesElements(['abc']), new Uint8Array(Int32Array.of(7).buffer));
    const sink = await runBatch(undefined, [item('one'), item('two')], { model });
    for (const id of ['one', 'two']) {
      expect(partsOf(sink.results.get(id))).toMatchObject({
        json: { outputs: [{ name: 'c', data: ['abc'] }, { name: 'b' }, { name: 'a' }] },
        tail: new Uint8Array([...new Uint8Array(Int32Array.of(7).buffer), ...floats(0.5)]),
      });
    }
  });

  it.each<[string, unknown, Uint8Array[], string]>([
    ['broken JSON', '{"inputs":[', [], 'The request is not valid JSON.'],
    ['a list', '[]', [], 'The request is a JSON object with "inputs"'],
    ['a string of JSON', JSON.stringify(JSON.stringify(input([1, 2]))), [], 'The request is a JSON object'],
    [
      'too few bytes',
      binaryInput(8, [1, 2]),
      [floats(1)],
      'Input "x": binary_data_size is 8, and the body has 4 bytes left.',
    ],
    [
      'too many bytes',
      binaryInput(8, [1, 2]),
      [floats(1, 2, 3)],
      'The body has 4 bytes behind the binary data of its last input.',
    ],
    [
      'a size that is not the shape',
      binaryInput(8, [2, 2]),
      [floats(1, 2)],
      'Input "x": 8 bytes of data are given, 4 elements of FP32 are 16.',
    ],
    [
      'a size that is none',
      binaryInput(-1, [1, 2]),
      [floats(1)],
      'binary_data_size is -1; it is a number of bytes',
    ],
    ['a broken size', binaryInput(1.5, [1, 2]), [floats(1)], 'binary_data_size is 1.5'],
    [
      'a gigantic shape',
      binaryInput(4, [2 ** 20, 2 ** 20]),
      [floats(1)],
      'elements; at most 268435456 are allowed',
    ],
    [
      'data twice',
      { inputs: [{ ...input([1, 2]).inputs[0], parameters: { binary_data_size: 8 } }] },
      [floats(1, 2)],
      'Input "x" has both "data" and a binary_data_size',
    ],
    [
      'bytes that are not announced',
      binaryInput(8, [1, 2]),
      [],
      'needs the header Inference-Header-Content-Length',
    ],
    [
      'a flag that is none',
      input([1, 2], { parameters: { binary_data_output: 1 } }),
      [],
      '"binary_data_output" is true or false, not 1',
    ],
    [
      'an unknown output',
      input([1, 2], { outputs: [{ name: 'z' }] }),
      [],
      'The model has no output "z"; it has "y".',
    ],
    [
      'an output twice',
      input([1, 2], { outputs: [{ name: 'y' }, { name: 'y' }] }),
      [],
      'Output "y" is asked for twice.',
    ],
    [
      'a wrong rank',
      { inputs: [{ name: 'x', datatype: 'FP32', shape: [2], data: [1, 2] }] },
      [],
      'Input "x" must be float32 [batch,2], got float32 [2].',
    ],
    [
      'BF16',
      { inputs: [{ name: 'x', datatype: 'BF16', shape: [1, 2], data: [1, 2] }] },
      [],
      'the datatype "BF16" is unknown',
    ],
    [
      'an integer out of range',
      { inputs: [{ name: 'x', datatype: 'INT8', shape: [1, 2], data: [1, 128] }] },
      [],
      'element 1 is 128; INT8 takes',
    ],
  ])('with %s fail alone', async (_what, json, tails, message) => {
    const model = new DoublingModel();
    const items = [
      protocolItem('good', input([1, 2])),
      protocolItem('a', json, ...tails),
      protocolItem('too', input([3, 4])),
    ];
    const sink = await runBatch(undefined, items, { model });
    expect(sink.codes).toEqual({ a: 'INVALID_INPUT' });
    expect(sink.errors.get('a')?.message).toContain(message);
    expect(model.runs).toEqual([[2, 2]]);
    expect(answerOf(sink.results.get('too'))).toMatchObject({ outputs: [{ data: [6, 8] }] });
  });

  it.each<[string, number, string]>([
    ['beyond the body', 1000, 'Inference-Header-Content-Length is 1000, and the body has'],
    ['negative', -1, 'Inference-Header-Content-Length is -1'],
    ['broken', 1.5, 'Inference-Header-Content-Length is 1.5'],
    ['inside the JSON', 3, 'The request is not valid JSON.'],
  ])('with a length of JSON that is %s are refused', async (_what, jsonBytes, message) => {
    const { body } = protocolItem('a', input([1, 2])).input as { body: Uint8Array };
    expect(await messageOf({ id: 'a', input: { kind: 'protocol', body, jsonBytes } })).toContain(message);
  });

  it.each<[string, Uint8Array, string]>([
    ['a length that is cut off', Uint8Array.of(1, 0), 'element 0 is longer than the data'],
    ['a length beyond the data', Uint8Array.of(9, 0, 0, 0, 65), 'element 0 is longer than the data'],
    ['a gigantic length', Uint8Array.of(255, 255, 255, 255, 65), 'element 0 is longer than the data'],
    [
      'too many elements',
      Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0),
      'the data has 2 elements, the shape needs 1',
    ],
    ['no elements', new Uint8Array(), 'the data has 0 elements, the shape needs 1'],
    ['what is no UTF-8', Uint8Array.of(1, 0, 0, 0, 0xff), 'element 0 is not UTF-8'],
  ])('with texts of %s are refused', async (_what, bytes, message) => {
    const json = {
      inputs: [
        { name: 's', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: bytes.byteLength } },
      ],
    };
    expect(await messageOf(protocolItem('a', json, bytes), mirror(['s', 'string', 'n']))).toContain(message);
  });

  it('with bools that are neither 0 nor 1 are refused', async () => {
    const json = {
      inputs: [{ name: 'b', datatype: 'BOOL', shape: [2], parameters: { binary_data_size: 2 } }],
    };
    expect(await messageOf(protocolItem('a', json, Uint8Array.of(1, 2)), mirror(['b', 'bool', 'n']))).toBe(
      'Input "b": element 1 is the byte 2; BOOL takes the bytes 0 and 1.',
    );
  });

  it('write a long answer as bytes', async () => {
    const values = Array.from({ length: 4000 }, (_, index) => index / 7);
    const json = { inputs: [{ name: 'x', datatype: 'FP64', shape: [1, 4000], data: values }] };
    const sink = await runBatch(undefined, [protocolItem('a', json)], {
      model: mirror(['x', 'float64', 'n', 4000]),
    });
    expect(sink.results.get('a')?.output).toMatchObject({ kind: 'bytes', encoding: 'json' });
    expect(answerOf(sink.results.get('a'))).toMatchObject({ outputs: [{ data: values }] });
  });
});

describe('runs of the lane', () => {
  it('are at most batchSize long, in order, and the sink hears of each before the next begins', async () => {
    const order: string[] = [];
    const model = new DoublingModel();
    class Ordered extends RecordingSink {
      override result(id: string, result: ItemResult): void {
        order.push(id);
        super.result(id, result);
      }
      override ran(items: number): void {
        order.push(`ran ${items}`);
        super.ran(items);
      }
    }
    const items = Array.from({ length: 10 }, (_, index) => protocolItem(String(index), input([index, 0])));
    const sink = await runBatch(undefined, items, { model, sink: new Ordered() });
    expect(model.runs).toEqual([
      [4, 2],
      [4, 2],
      [2, 2],
    ]);
    expect(order.join()).toBe('0,1,2,3,ran 4,4,5,6,7,ran 4,8,9,ran 2');
    expect(answerOf(sink.results.get('9'))).toMatchObject({ outputs: [{ data: [18, 0] }] });
  });

  it('tell how long they took, failures included', async () => {
    const durations: number[] = [];
    const sink = new RecordingSink();
    sink.ran = (_items: number, durationMs?: number) => durations.push(durationMs ?? Number.NaN);
    await runBatch(new Pair(), [jsonItem('a', 'bad'), jsonItem('b', [1, 2])], { sink });
    expect(durations).toEqual([expect.any(Number)]);
    expect(durations[0]).toBeGreaterThan(0);
  });

  it('split what handlers of their own do, too', async () => {
    const model = new DoublingModel();
    const items = Array.from({ length: 6 }, (_, index) => jsonItem(String(index), [index, index]));
    const sink = await runBatch(new Pair(), items, { model });
    expect(model.runs).toEqual([
      [4, 2],
      [2, 2],
    ]);
    expect(sink.runs).toEqual([4, 2]);
  });

  it('take neighbours with hooks and without in one hand-over', async () => {
    const sink = await runBatch(new Pair(), [
      jsonItem('a', [1, 2]),
      protocolItem('b', input([3, 4])),
      tensorItem('c', row([5, 6])),
    ]);
    expect([answerOf(sink.results.get('a')), sink.results.has('b'), sink.results.has('c')]).toEqual([
      [2, 4],
      true,
      true,
    ]);
    expect(sink.runs).toEqual([3]);
  });

  it.each([
    ['PREDICTION_FAILED', true],
    ['INVALID_INPUT', true],
    ['OUT_OF_RESOURCES', false],
    ['DEADLINE_EXCEEDED', false],
  ] as const)('are tried again alone after %s: %s', async (code, again) => {
    const model = new DoublingModel();
    model.check = (values) => {
      if (values.includes(13)) throw new MarlineError(code, { reason: 'index out of range', deadlineMs: 1 });
    };
    const items = [
      protocolItem('a', input([1, 2])),
      protocolItem('b', input([13, 0])),
      protocolItem('c', input([3, 4])),
    ];
    const sink = await runBatch(undefined, items, { model });
    expect(sink.codes).toEqual(again ? { b: code } : { a: code, b: code, c: code });
    expect(model.runs).toHaveLength(again ? 4 : 1);
  });

  it('keep tensors apart that must not share memory', async () => {
    const kept: Tensors[] = [];
    const binding: ModelBinding = {
      ...mirror(['x', 'float32', 'n', 2]),
      run: async (tensors) => {
        kept.push(tensors);
        return {
          x: tensor(
            'float32',
            Float32Array.from(tensors['x']?.data as Float32Array),
            tensors['x']?.shape ?? [],
          ),
        };
      },
    };
    const items = Array.from({ length: 12 }, (_, index) =>
      protocolItem(String(index), input([index, index])),
    );
    const sink = await runBatch(undefined, items, { model: binding });
    expect(
      items.map(
        ({ id }) => (answerOf(sink.results.get(id)) as { outputs: { data: number[] }[] }).outputs[0]?.data[0],
      ),
    ).toEqual(items.map((_, index) => index));
    const buffers = new Set<unknown>();
    const own = await runBatch(undefined, [tensorItem('a', row([1, 2])), tensorItem('b', row([3, 4]))]);
    for (const { output } of own.results.values())
      if (output.kind === 'tensors') buffers.add((output.tensors['y'] as { data: Float32Array }).data.buffer);
    expect(buffers.size).toBe(2);
    // In the main thread whoever runs the model keeps the tensors.
    kept.length = 0;
    await runBatch(undefined, [protocolItem('a', input([1, 2]))], { model: binding, output: 'value' });
    await runBatch(undefined, [protocolItem('b', input([3, 4]))], { model: binding, output: 'value' });
    expect(kept.map(({ x }) => Array.from(x?.data as Float32Array))).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  it('stack several inputs, and only items that agree in all of them', async () => {
    const shapes: unknown[] = [];
    const model = mirror(['ids', 'int64', 'n', 'length'], ['mask', 'float32', 'n', 'length']);
    const binding: ModelBinding = {
      ...model,
      run: (tensors) => {
        shapes.push([tensors['ids']?.shape, tensors['mask']?.shape]);
        return model.run(tensors);
      },
    };
    const item = (id: string, ids: number[], mask: number[]) =>
      protocolItem(id, {
        inputs: [
          { name: 'mask', datatype: 'FP32', shape: [1, mask.length], data: mask },
          { name: 'ids', datatype: 'INT64', shape: [1, ids.length], data: [ids] },
        ],
      });
    const items = [
      item('a', [1, 2], [1, 0]),
      item('b', [3], [1]),
      item('c', [5, 6], [0, 1]),
      item('d', [7, 8], [1]),
    ];
    const sink = await runBatch(undefined, items, { model: binding });
    expect(shapes).toEqual([
      [
        [2, 2],
        [2, 2],
      ],
      [
        [1, 1],
        [1, 1],
      ],
      [
        [1, 2],
        [1, 1],
      ],
    ]);
    expect(answerOf(sink.results.get('c'))).toMatchObject({
      outputs: [{ name: 'ids', data: [5, 6] }, { data: [0, 1] }],
    });
  });

  it('give the buffers of large bodies back once they are over, and only those', async () => {
    const large = protocolItem('large', binaryInput(80_000, [10_000, 2]), new Uint8Array(80_000));
    const failed = protocolItem('failed', binaryInput(80_000, [10, 2]), new Uint8Array(80_000));
    const small = protocolItem('small', input([1, 2]));
    const hooked = bodyItem('hooked', 'application/octet-stream', new Uint8Array(80_000));
    const events: unknown[] = [];
    const model = new DoublingModel();
    model.check = () => events.push('run');
    await runBatch(new Pair(), [large, failed, small, hooked], {
      model,
      recycle: (buffer) => events.push(buffer),
    });
    const bufferOf = ({ input: given }: typeof large) => (given as { body: Uint8Array }).body.buffer;
    expect(events).toEqual(['run', bufferOf(large), bufferOf(failed)]);
  });

  it('answer MODEL_INVALID to a model without a session', async () => {
    const binding: ModelBinding = {
      inputs: [],
      outputs: [],
      run: () => Promise.reject(new MarlineError('MODEL_INVALID', { reason: 'none' })),
    };
    const sink = await runBatch(undefined, [protocolItem('a', input([1, 2]))], { model: binding });
    expect(sink.codes).toEqual({ a: 'MODEL_INVALID' });
  });
});

describe('bodies for the handler tensor', () => {
  it('answer exactly as its hooks would, and as a class of the same hooks does', async () => {
    class Same extends BaseHandler {}
    const data = [1.1, -0, 1e21, 1e-7, 0.1 + 0.2, 16777217];
    const model = mirror(
      ['f', 'float32', 'n', 6],
      ['d', 'float64', 'n', 6],
      ['i', 'int64', 'n'],
      ['b', 'bool', 'n'],
      ['h', 'float16', 'n'],
      ['s', 'string', 'n'],
      ['u', 'uint8', 'n', 0],
    );
    const body = {
      id: 'ü"\n',
      inputs: [
        { name: 'f', datatype: 'FP32', shape: [1, 6], data },
        { name: 'd', datatype: 'FP64', shape: [1, 6], data },
        { name: 'i', datatype: 'INT64', shape: [1], data: ['9007199254740993'] },
        { name: 'b', datatype: 'BOOL', shape: [1], data: [true] },
        { name: 'h', datatype: 'FP16', shape: [1], data: [0.1] },
        { name: 's', datatype: 'BYTES', shape: [1], data: ['ü\u0000😀'] },
        { name: 'u', datatype: 'UINT8', shape: [1, 0], data: [] },
      ],
    };
    const items = [jsonItem('a', body), jsonItem('b', { ...body, outputs: [] }), jsonItem('c', body)];
    const lane = await runBatch(new BaseHandler(), items, { model });
    const hooks = await runBatch(new Same(), items, { model });
    expect([...lane.results]).toEqual([...hooks.results]);
    expect(lane.results.size).toBe(3);
  });

  it.each(['application/json', 'text/plain', '', 'APPLICATION/JSON', 'application/x-tensors'])(
    'are JSON as %j',
    async (type) => {
      const sink = await runBatch(new BaseHandler(), [
        bodyItem('a', type, Buffer.from(JSON.stringify(input([1, 2])))),
      ]);
      expect(answerOf(sink.results.get('a'))).toMatchObject({ outputs: [{ data: [2, 4] }] });
    },
  );

  it('may be a string of JSON in JSON, and name themselves data or come with others', async () => {
    const text = JSON.stringify(input([1, 2]));
    const named = (...names: string[]) => ({
      id: names.join(),
      input: {
        kind: 'raw' as const,
        headers: '',
        parameters: names.map((name) => ({
          name,
          contentType: 'application/json',
          value: Buffer.from(text),
        })),
      },
    });
    const sink = await runBatch(new BaseHandler(), [
      jsonItem('a', text),
      named('data'),
      named('body', 'other'),
    ]);
    expect(sink.codes).toEqual({});
    expect(sink.results.size).toBe(3);
  });

  it('are refused explanations', async () => {
    const sink = await runBatch(new BaseHandler(), [jsonItem('a', input([1, 2]), [['explain', 'True']])]);
    expect(sink.codes).toEqual({ a: 'PREDICTION_FAILED' });
  });

  const bytesItem = (
    id: string,
    value: Uint8Array,
    headers: Header[] = [],
    type = 'application/octet-stream',
  ) => bodyItem(id, type, value, headers);

  it('are the bytes of the one input as application/octet-stream, whatever its letter case', async () => {
    const model = new DoublingModel();
    const items = [
      bytesItem('a', floats(1, 2)),
      bytesItem('b', floats(3, 4, 5, 6), [], 'Application/Octet-Stream'),
    ];
    const sink = await runBatch(new BaseHandler(), items, { model });
    expect(model.runs).toEqual([[3, 2]]);
    expect(answerOf(sink.results.get('b'))).toEqual({
      model_name: 'demo',
      model_version: '1.0',
      outputs: [{ name: 'y', shape: [2, 2], datatype: 'FP32', data: [6, 8, 10, 12] }],
    });
  });

  it.each([
    'application/octet-stream',
    'Application/Octet-Stream;q=1',
    'text/html, application/octet-stream , */*',
  ])('are answered in bytes when %s is accepted', async (accepted) => {
    const accept: Header[] = [
      ['X', 'accept'],
      ['ACCEPT', accepted],
    ];
    const items = [bytesItem('a', floats(1, 2), accept), jsonItem('b', input([3, 4]), accept)];
    const sink = await runBatch(new BaseHandler(), items);
    expect(sink.results.get('a')).toEqual({
      status: 200,
      reason: '',
      headers: [
        ['content-type', 'application/octet-stream'],
        ['x-tensor-dtype', 'float32'],
        ['x-tensor-shape', '1,2'],
      ],
      output: { kind: 'bytes', bytes: floats(2, 4), encoding: 'binary' },
    });
    expect(sink.results.get('b')?.output).toMatchObject({ bytes: floats(6, 8) });
  });

  it.each(['application/json', '*/*', 'application/octet-stream-like'])(
    'are answered in JSON when %s is accepted',
    async (accepted) => {
      const headers: Header[] = [
        ['content-type', 'application/octet-stream'],
        ['accept', accepted],
      ];
      const sink = await runBatch(new BaseHandler(), [bytesItem('a', floats(1, 2), headers)]);
      expect(answerOf(sink.results.get('a'))).toMatchObject({ outputs: [{ data: [2, 4] }] });
    },
  );

  it('are answered in JSON when there is more than one output to give', async () => {
    const accept: Header[] = [['accept', 'application/octet-stream']];
    const model = mirror(['a', 'float32', 'n'], ['b', 'float32', 'n']);
    const body = (outputs?: unknown) => ({
      outputs,
      inputs: ['a', 'b'].map((name) => ({ name, datatype: 'FP32', shape: [1], data: [1] })),
    });
    const items = [jsonItem('both', body(), accept), jsonItem('one', body([{ name: 'b' }]), accept)];
    const sink = await runBatch(new BaseHandler(), items, { model });
    expect(answerOf(sink.results.get('both'))).toMatchObject({ outputs: [{ name: 'a' }, { name: 'b' }] });
    expect(sink.results.get('one')?.output).toMatchObject({ kind: 'bytes', bytes: floats(1) });
  });

  it.each<[string, Uint8Array, ModelBinding, string]>([
    [
      'too few bytes for a row',
      floats(1),
      new DoublingModel(),
      'The body has 4 bytes; input "x" (float32 [batch,2]) takes a multiple of 8.',
    ],
    ['a part of a row', floats(1, 2, 3), new DoublingModel(), 'takes a multiple of 8'],
    ['no bytes', new Uint8Array(), new DoublingModel(), 'The body has 0 bytes'],
    ['too much for a fixed shape', floats(1, 2, 3), mirror(['x', 'float32', 1, 2]), 'takes exactly 8'],
    [
      'several inputs',
      floats(1, 2),
      mirror(['a', 'float32', 'n'], ['b', 'float32', 'n']),
      'this model takes 2',
    ],
    [
      'two open dimensions',
      floats(1, 2),
      mirror(['x', 'float32', 'n', 'length']),
      'each open dimension of input "x" (float32 [n,length])',
    ],
    [
      'two open dimensions, one called 2',
      floats(1, 2),
      mirror(['x', 'float32', 'n', '2']),
      'each open dimension of input "x" (float32 [n,2])',
    ],
    ['texts', floats(1, 2), mirror(['x', 'string', 'n']), 'Texts have no fixed width'],
    ['JSON', Buffer.from('{"inputs":1}'), mirror(['x', 'float64', 'n']), 'The body has 12 bytes'],
    [
      'a bool that is none',
      Uint8Array.of(0, 2),
      mirror(['x', 'bool', 'n']),
      'Input "x": element 1 is the byte 2',
    ],
  ])('are refused as bytes with %s', async (_what, bytes, model, message) => {
    expect(await messageOf(bytesItem('a', bytes), model)).toContain(message);
  });

  it('stay bytes for handlers of their own', async () => {
    class Length extends BaseHandler<Uint8Array, number> {
      override preprocess = (body: Uint8Array) => row([body.byteLength, 0]);
      override postprocess = (outputs: Tensors) => Number(outputs['y']?.data[0]);
    }
    const sink = await runBatch(new Length(), [bytesItem('a', floats(1, 2, 3))]);
    expect(answerOf(sink.results.get('a'))).toBe(24);
  });
});

it('writes all outputs of tensors as encodeTensors does', async () => {
  const model = mirror(['x', 'float32', 'n', 3]);
  const values = [0.1, 3.4028234663852886e38, 1.401298464324817e-45];
  const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 3], data: values }] };
  const sink = await runBatch(new BaseHandler(), [jsonItem('a', body)], { model, setup: demoSetup() });
  const outputs = encodeTensors({ x: tensor('float32', Float32Array.from(values), [1, 3]) });
  expect(sink.results.get('a')?.output).toEqual(
    encodeOutput({ model_name: 'demo', model_version: '1.0', outputs }),
  );
});

/** The binary form of texts: a length of four bytes before each. */
function bytesElements(texts: readonly string[]): Uint8Array {
  const parts = texts.map((text) => {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.byteLength);
    return Buffer.concat([length, bytes]);
  });
  return new Uint8Array(Buffer.concat(parts));
}
