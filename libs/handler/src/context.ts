import type { Manifest } from '#libs/archive';
import type { HandlerMetric, Header, Tensors, TensorMetadata } from '#libs/common';

/** TorchServe's `context.system_properties`. @publicApi */
export interface SystemProperties {
  /** Absolute path of the folder with the archive's files. */
  readonly modelDir: string;
  /** Index of the GPU that this worker was given; `null` on the CPU. */
  readonly gpuId: number | null;
  readonly batchSize: number;
  readonly serverName: string;
  readonly serverVersion: string;
  /** True when images above the pixel cap are refused. */
  readonly limitMaxImagePixels: boolean;
}

/**
 * Metrics of a handler, as TorchServe's `context.metrics` takes them. The dimensions `ModelName` and `Level: Model` are put
 * behind those given, except by `addError`. Which of them the server keeps is up to its `metrics.yaml`.
 * @publicApi
 */
export interface HandlerMetrics {
  addCounter(name: string, value: number, dimensions?: Readonly<Record<string, string>>): void;
  /** @param unit `ms` (default) or `s` */
  addTime(
    name: string,
    value: number,
    unit?: 'ms' | 's',
    dimensions?: Readonly<Record<string, string>>,
  ): void;
  /** @param unit `MB` (default), `kB`, `GB` or `B` */
  addSize(
    name: string,
    value: number,
    unit?: 'MB' | 'kB' | 'GB' | 'B',
    dimensions?: Readonly<Record<string, string>>,
  ): void;
  addPercent(name: string, value: number, dimensions?: Readonly<Record<string, string>>): void;
  /** Counts errors; the dimension `Level` is `Error` when none are given. */
  addError(name: string, value: number, dimensions?: Readonly<Record<string, string>>): void;
  /** @param type a counter by default */
  addMetric(
    name: string,
    value: number,
    unit: string,
    dimensions?: Readonly<Record<string, string>>,
    type?: HandlerMetric['type'],
  ): void;
}

/** Pixels of a decoded image, rows from the top, channels interleaved, 8 bits each. @publicApi */
export interface DecodedImage {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** How to decode an image: EXIF orientation is always applied. @publicApi */
export interface DecodeImageOptions {
  /** `rgb` (default): three channels, transparency over black; `grey`: one. */
  readonly colour?: 'rgb' | 'grey';
  /** Scales so that the shorter side has this many pixels (bilinear, antialiased). Not scaled by default. */
  readonly shorterSide?: number;
  /** Cuts a square of this many pixels from the centre, after scaling; a smaller image is framed in black. Not cut by default. */
  readonly centreCrop?: number;
}

/** What a handler knows about its model, whatever the request. @publicApi */
export interface ModelContext {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly manifest: Manifest;
  /** `model-config.yaml` as plain data; `{}` without one. */
  readonly modelConfig: Readonly<Record<string, unknown>>;
  readonly systemProperties: SystemProperties;
  readonly metrics: HandlerMetrics;
  /** The model's inputs; empty without a session. */
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];

  /** Decodes JPEG, PNG, WebP, GIF or TIFF off the event loop. @throws MarlineError `INVALID_INPUT` for anything else or above the pixel cap */
  decodeImage(bytes: Uint8Array, options?: DecodeImageOptions): Promise<DecodedImage>;
}

/**
 * What a handler knows about the requests at hand. In the per-item hooks (preprocess, inference, postprocess, explain)
 * there is one request and its index is 0; `handle` sees the whole batch.
 * @publicApi
 */
export interface RequestsContext extends ModelContext {
  /** Ids of the requests, in batch order. */
  readonly requestIds: readonly string[];
  getRequestId(index?: number): string;
  /** A request header, looked up in exactly this letter case, as TorchServe does; `undefined` when absent. */
  getRequestHeader(index: number, name: string): string | undefined;
  getAllRequestHeaders(index: number): Readonly<Record<string, string>>;

  /** The sequence that a request is a step of; `undefined` without `sequenceBatching`. */
  getSequenceId(index: number): string | undefined;

  setResponseContentType(index: number, value: string): void;
  setResponseHeader(index: number, name: string, value: string): void;
  getResponseHeaders(index: number): readonly Header[];
  /** HTTP status of one answer; 200 with an empty phrase unless set. */
  setResponseStatus(code: number, phrase?: string, index?: number): void;
  setAllResponseStatus(code: number, phrase?: string): void;

  /** Runs the model on one batch of tensors: what the default `inference` does. */
  run(inputs: Tensors): Promise<Tensors>;

  /** Sends a part of an answer now; resolves when the reader has room for more. The hook's return value is the last part. */
  sendIntermediateResponse(index: number, part: unknown): Promise<void>;

  /**
   * With `continuousBatching`: what this batch answers to the request is one part. The request is in the worker's next batch again,
   * with its id and headers and without its parameters.
   * @throws Error without `continuousBatching`
   */
  continueResponse(index?: number): void;
}
