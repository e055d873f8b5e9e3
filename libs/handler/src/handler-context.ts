import type { Manifest } from '#libs/archive';
import type {
  BatchItem,
  BatchSink,
  HandlerMetric,
  Header,
  ItemOutput,
  ItemResult,
  ProtocolInput,
  RawInput,
  TensorInput,
  TensorMetadata,
  Tensors,
  ValueInput,
} from '#libs/common';
import type {
  DecodedImage,
  DecodeImageOptions,
  HandlerMetrics,
  ModelContext,
  RequestsContext,
  SystemProperties,
} from './context.js';
import { decodeImage } from './decode-image.js';
import { EmittingMetrics } from './metrics.js';
import { headerRecord } from './request-decoding.js';

/** What a handler's contexts are made of. */
export interface HandlerSetup {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly manifest: Manifest;
  /** `model-config.yaml` as plain data. */
  readonly modelConfig: Readonly<Record<string, unknown>>;
  readonly systemProperties: SystemProperties;
  /** Gets every metric that a handler reports. */
  readonly metric: (metric: HandlerMetric) => void;
  /** Images with more pixels are refused; 0 or infinity is no limit. */
  readonly maxPixels: number;
  /** TorchServe's service envelope around the handler; none by default. */
  readonly envelope?: string;
  /** False leaves JSON and texts to the handler as the bytes that they came as. True by default. */
  readonly decodeInputRequest?: boolean;
  /** The header with the id of a request's sequence; TorchServe's by default. */
  readonly sequenceIdHeader?: string;
  /** True when a request may be in several batches. False by default. */
  readonly continuousBatching?: boolean;
}

/** The model as a handler runs it. */
export interface ModelBinding {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** Runs the model on one batch of tensors, which it then owns. Beside a session it blocks the thread until it is done. */
  run(inputs: Tensors): Tensors | Promise<Tensors>;
}

/** One request of a batch, in the forms that reach a handler. */
export type HandlerItem = BatchItem<RawInput | ProtocolInput | TensorInput | ValueInput>;

/** What `initialize` gets: the model, whatever the request. */
export class LoadedModelContext implements ModelContext {
  readonly metrics: HandlerMetrics;

  constructor(
    protected readonly setup: HandlerSetup,
    protected readonly binding: ModelBinding,
    readonly requestIds: readonly string[] = [],
  ) {
    this.metrics = new EmittingMetrics(setup.metric, setup.modelName, requestIds);
  }

  get modelName(): string {
    return this.setup.modelName;
  }

  get modelVersion(): string {
    return this.setup.modelVersion;
  }

  get manifest(): Manifest {
    return this.setup.manifest;
  }

  get modelConfig(): Readonly<Record<string, unknown>> {
    return this.setup.modelConfig;
  }

  get systemProperties(): SystemProperties {
    return this.setup.systemProperties;
  }

  get inputs(): readonly TensorMetadata[] {
    return this.binding.inputs;
  }

  get outputs(): readonly TensorMetadata[] {
    return this.binding.outputs;
  }

  decodeImage(bytes: Uint8Array, options: DecodeImageOptions = {}): Promise<DecodedImage> {
    return decodeImage(bytes, options, this.setup.maxPixels);
  }
}

/** How requests run their model and give away parts of their answers. */
export interface RequestsChannel {
  readonly run: (context: RequestsContext, inputs: Tensors) => Promise<Tensors>;
  readonly chunk: BatchSink['chunk'];
  readonly encode: (value: unknown) => ItemOutput;
}

/** What the hooks get: one request, or the whole batch for `handle`. Dead once the requests are answered. */
export class AnsweringContext extends LoadedModelContext implements RequestsContext {
  readonly #answers: readonly Answer[];
  #closed = false;

  constructor(
    setup: HandlerSetup,
    binding: ModelBinding,
    items: readonly HandlerItem[],
    private readonly channel: RequestsChannel,
  ) {
    super(
      setup,
      binding,
      items.map((item) => item.id),
    );
    this.#answers = items.map(({ input }) => ({
      requestHeaders: headerRecord(input.kind === 'raw' ? input.headers : ''),
      headers: new Map<string, string>(),
      status: 200,
      reason: '',
      streams: false,
      goesOn: false,
    }));
  }

  getRequestId(index = 0): string {
    const id = this.requestIds[index];
    if (id === undefined) throw outside(index, this.requestIds.length);
    return id;
  }

  getRequestHeader(index: number, name: string): string | undefined {
    const { requestHeaders } = this.#answer(index);
    return Object.hasOwn(requestHeaders, name) ? requestHeaders[name] : undefined;
  }

  getAllRequestHeaders(index: number): Readonly<Record<string, string>> {
    return this.#answer(index).requestHeaders;
  }

  getSequenceId(index: number): string | undefined {
    return this.getRequestHeader(index, this.setup.sequenceIdHeader ?? 'ts_request_sequence_id');
  }

  setResponseContentType(index: number, value: string): void {
    this.setResponseHeader(index, 'content-type', value);
  }

  setResponseHeader(index: number, name: string, value: string): void {
    // Refused here, where the handler can be blamed, and not by the HTTP server after the answer is under way.
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name))
      throw new TypeError(`${JSON.stringify(name)} is no name for a response header.`);
    if (typeof value !== 'string' || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
      throw new TypeError(`The value of response header ${name} is no text that HTTP allows.`);
    this.#answer(index).headers.set(name, value);
  }

  getResponseHeaders(index: number): readonly Header[] {
    return [...this.#answer(index).headers];
  }

  setResponseStatus(code: number, phrase = '', index = 0): void {
    if (!Number.isInteger(code) || code < 200 || code > 999)
      throw new TypeError(`${code} is no HTTP status for an answer.`);
    const answer = this.#answer(index);
    answer.status = code;
    answer.reason = phrase;
  }

  setAllResponseStatus(code: number, phrase = ''): void {
    for (const index of this.requestIds.keys()) this.setResponseStatus(code, phrase, index);
  }

  run(inputs: Tensors): Promise<Tensors> {
    return forgivingly(this.#run(inputs));
  }

  sendIntermediateResponse(index: number, part: unknown): Promise<void> {
    return forgivingly(this.#send(index, part));
  }

  continueResponse(index = 0): void {
    if (this.setup.continuousBatching !== true)
      throw new Error(
        'A response can only be continued with continuousBatching: true in model-config.yaml; send parts with sendIntermediateResponse instead.',
      );
    this.#assertOpen();
    const answer = this.#answer(index);
    answer.streams = true;
    answer.goesOn = true;
  }

  async #run(inputs: Tensors): Promise<Tensors> {
    this.#assertOpen();
    return this.channel.run(this, inputs);
  }

  async #send(index: number, part: unknown): Promise<void> {
    this.#assertOpen();
    const answer = this.#answer(index);
    const output = this.channel.encode(part);
    answer.streams = true;
    await this.channel.chunk(this.getRequestId(index), resultOf(answer, output, 'true'));
  }

  /** The last part of an answer, or of what this batch gives of it, with the status and headers that the hooks set. */
  result(index: number, output: ItemOutput): ItemResult {
    const answer = this.#answer(index);
    return resultOf(answer, output, answer.goesOn ? 'true' : 'false');
  }

  /** From now on the requests are answered: a hook that still runs can neither use the model nor send parts. */
  close(): void {
    this.#closed = true;
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error(`The request is answered already: ${this.requestIds.join(', ')}`);
  }

  #answer(index: number): Answer {
    const answer = this.#answers[index];
    if (answer === undefined) throw outside(index, this.#answers.length);
    return answer;
  }
}

interface Answer {
  readonly requestHeaders: Readonly<Record<string, string>>;
  readonly headers: Map<string, string>;
  status: number;
  reason: string;
  /** True once a part went out: then each part says whether another follows. */
  streams: boolean;
  /** True when the next part comes in another batch. */
  goesOn: boolean;
}

function resultOf(
  { status, reason, headers, streams }: Answer,
  output: ItemOutput,
  next: 'true' | 'false',
): ItemResult {
  const stream: Header[] = streams ? [['ts_stream_next', next]] : [];
  return { status, reason, headers: [...stream, ...headers], output };
}

/** A hook that does not wait for its own call gets no answer, but must not take the process down either. */
function forgivingly<T>(call: Promise<T>): Promise<T> {
  call.catch(() => {});
  return call;
}

function outside(index: number, count: number): RangeError {
  return new RangeError(`There is no request ${index}: this context has ${count}, counted from 0.`);
}
