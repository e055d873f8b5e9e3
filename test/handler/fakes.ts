import {
  MarlineError,
  tensor,
  type BatchSink,
  type HandlerMetric,
  type Header,
  type HookTimings,
  type ItemResult,
  type Tensors,
} from '#libs/common';
import {
  BaseHandler,
  HandlerRunner,
  type HandlerItem,
  type HandlerSetup,
  type ModelBinding,
} from '#libs/handler/worker';

/** A setup for model `demo` 1.0 whose metrics land in an array. */
export function demoSetup(
  overrides: Partial<HandlerSetup> = {},
): HandlerSetup & { metrics: HandlerMetric[] } {
  const metrics: HandlerMetric[] = [];
  return {
    modelName: 'demo',
    modelVersion: '1.0',
    manifest: { runtime: 'python', model: { handler: 'demo_handler' } },
    modelConfig: { batchSize: 4 },
    systemProperties: {
      modelDir: '/nowhere',
      gpuId: null,
      batchSize: 4,
      serverName: 'Marline',
      serverVersion: '0',
      limitMaxImagePixels: true,
    },
    metric: (metric) => metrics.push(metric),
    maxPixels: 1_000_000,
    metrics,
    ...overrides,
  };
}

/** A model that doubles `x` float32[batch,2] into `y`, and remembers the shapes that it ran. */
export class DoublingModel implements ModelBinding {
  readonly runs: (readonly number[])[] = [];
  inputs: ModelBinding['inputs'] = [{ name: 'x', dtype: 'float32', shape: ['batch', 2] }];
  outputs: ModelBinding['outputs'] = [{ name: 'y', dtype: 'float32', shape: ['batch', 2] }];
  /** Throws to make a run fail. */
  check: (values: readonly number[]) => void = () => {};

  run(inputs: Tensors): Tensors {
    const x = inputs['x'];
    if (x === undefined) throw new Error('no x');
    this.runs.push(x.shape);
    const values = Array.from(x.data, Number);
    this.check(values);
    return {
      y: tensor(
        'float32',
        Float32Array.from(values, (value) => value * 2),
        x.shape,
      ),
    };
  }
}

/** Keeps what becomes of each item, in order of arrival. */
export class RecordingSink implements BatchSink {
  readonly chunks: [string, ItemResult][] = [];
  readonly results = new Map<string, ItemResult>();
  readonly errors = new Map<string, MarlineError>();
  /** Items of each group that the worker reported. */
  readonly runs: number[] = [];
  /** Of each run. */
  readonly hookTimes: (HookTimings | undefined)[] = [];
  /** How long the reader of chunks takes. */
  room: () => Promise<void> = () => Promise.resolve();

  chunk(id: string, chunk: ItemResult): Promise<void> {
    this.chunks.push([id, chunk]);
    return this.room();
  }

  result(id: string, result: ItemResult): void {
    this.#once(id);
    this.results.set(id, result);
  }

  error(id: string, error: MarlineError): void {
    this.#once(id);
    this.errors.set(id, error);
  }

  ran(items: number, _durationMs?: number, hooks?: HookTimings): void {
    this.runs.push(items);
    this.hookTimes.push(hooks);
  }

  /** The codes of the failed items, by id. */
  get codes(): Record<string, string> {
    return Object.fromEntries([...this.errors].map(([id, error]) => [id, error.code]));
  }

  #once(id: string): void {
    if (this.results.has(id) || this.errors.has(id)) throw new Error(`${id} was settled twice`);
  }
}

/** A raw request whose body is JSON. */
export function jsonItem(id: string, body: unknown, headers: readonly Header[] = []): HandlerItem {
  return bodyItem(id, 'application/json', new TextEncoder().encode(JSON.stringify(body)), headers);
}

export function bodyItem(
  id: string,
  contentType: string,
  value: Uint8Array,
  headers: readonly Header[] = [],
): HandlerItem {
  return {
    id,
    input: {
      kind: 'raw',
      headers: headers.flat().join('\n'),
      parameters: [{ name: 'body', contentType, value }],
    },
  };
}

/** A request of the open inference protocol: its JSON, and what stands behind it. */
export function protocolItem(id: string, json: unknown, ...tails: readonly Uint8Array[]): HandlerItem {
  const head = Buffer.from(typeof json === 'string' ? json : JSON.stringify(json));
  const body = new Uint8Array(Buffer.concat([head, ...tails]));
  return {
    id,
    input: { kind: 'protocol', body, ...(tails.length === 0 ? {} : { jsonBytes: head.byteLength }) },
  };
}

export function tensorItem(id: string, tensors: Tensors): HandlerItem {
  return { id, input: { kind: 'tensors', tensors } };
}

/** The answer as a client would read it. */
export function answerOf(result: ItemResult | undefined): unknown {
  if (result?.output.kind === 'text')
    return result.output.encoding === 'json' ? JSON.parse(result.output.text) : result.output.text;
  if (result?.output.kind !== 'bytes') return result?.output;
  const text = new TextDecoder().decode(result.output.bytes);
  return result.output.encoding === 'json' ? JSON.parse(text) : text;
}

/** Runs one batch through a handler beside a model. */
export async function runBatch(
  handler: BaseHandler<never> | undefined,
  items: readonly HandlerItem[],
  {
    model = new DoublingModel(),
    setup = demoSetup(),
    output = 'bytes' as const,
    sink = new RecordingSink(),
    recycle = () => {},
  }: {
    model?: ModelBinding;
    setup?: HandlerSetup;
    output?: 'bytes' | 'value';
    sink?: RecordingSink;
    recycle?: (buffer: ArrayBuffer) => void;
  } = {},
): Promise<RecordingSink> {
  await new HandlerRunner(handler, { setup, binding: model, output, recycle }).run(items, sink);
  return sink;
}

/** The input of one item. */
export const row = (values: readonly number[]): Tensors => ({
  x: tensor('float32', Float32Array.from(values), [1, values.length]),
});

/** Takes `[a, b]` and answers with the doubled pair. */
export class Pair extends BaseHandler<number[], number[]> {
  override preprocess(values: number[]): Tensors {
    if (!Array.isArray(values))
      throw new MarlineError('INVALID_INPUT', { reason: 'Send a pair of numbers.' });
    return row(values);
  }

  override postprocess(outputs: Tensors): number[] {
    return Array.from(outputs['y']?.data ?? [], Number);
  }
}
