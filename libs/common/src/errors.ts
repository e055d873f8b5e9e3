/** What a caller may be told about an error beside its code: names, sizes, limits; never paths or stacks. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** gRPC status names, as the protocol spells them. */
export type GrpcStatus =
  | 'CANCELLED'
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE';

interface ErrorKind {
  /** HTTP status on TorchServe's routes. */
  readonly status: number;
  readonly grpc: GrpcStatus;
  /** The simple Java class name that TorchServe writes as `type` in an error body. */
  readonly type: string;
  readonly message: (details: Record<string, unknown>) => string;
  /** TorchServe's own text, where ours says more. */
  readonly torchServeMessage?: (details: Record<string, unknown>) => string;
}

function kind(
  status: number,
  grpc: GrpcStatus,
  type: string,
  message: ErrorKind['message'] | string,
  torchServeMessage?: ErrorKind['torchServeMessage'],
): ErrorKind {
  return {
    status,
    grpc,
    type,
    message: typeof message === 'string' ? () => message : message,
    torchServeMessage,
  };
}

const reason = (details: Record<string, unknown>) => String(details['reason']);

/** A prediction without an answer: TorchServe's text, behind which ours may say why. */
function failedPrediction(text: string): ErrorKind {
  const message: ErrorKind['message'] = ({ cause }) =>
    cause === undefined ? text : `${text}: ${String(cause)}`;
  return kind(503, 'INTERNAL', 'InternalServerException', message, () => text);
}

/**
 * Every error of Marline: its stable code, HTTP and gRPC status, TorchServe's name for it and its text.
 * Texts that TorchServe's clients may match are TorchServe's own.
 */
const KINDS = {
  BAD_REQUEST: kind(400, 'INVALID_ARGUMENT', 'BadRequestException', reason),
  INVALID_INPUT: kind(400, 'INVALID_ARGUMENT', 'BadRequestException', reason),
  BROKEN_ESCAPE: kind(403, 'INVALID_ARGUMENT', 'IllegalArgumentException', reason),
  PAYLOAD_TOO_LARGE: kind(
    413,
    'RESOURCE_EXHAUSTED',
    'BadRequestException',
    (d) => `The request body exceeds ${d['limitBytes']} bytes.`,
  ),
  RESOURCE_NOT_FOUND: kind(
    404,
    'NOT_FOUND',
    'ResourceNotFoundException',
    'Requested resource is not found, please refer to API document.',
  ),
  METHOD_NOT_ALLOWED: kind(
    405,
    'UNIMPLEMENTED',
    'MethodNotAllowedException',
    'Requested method is not allowed, please refer to API document.',
  ),

  TOKEN_REFUSED: kind(
    400,
    'PERMISSION_DENIED',
    'InvalidKeyException',
    (d) => `Token ${d['asked']} failed. Token either incorrect, expired, or not provided correctly`,
  ),

  MODEL_NOT_FOUND: kind(404, 'NOT_FOUND', 'ModelNotFoundException', (d) => `Model not found: ${d['model']}`),
  MODEL_VERSION_NOT_FOUND: kind(404, 'NOT_FOUND', 'ModelVersionNotFoundException', (d) =>
    String(d['reason'] ?? `Model version: ${d['version']} does not exist for model: ${d['model']}`),
  ),
  MODEL_VERSION_EXISTS: kind(
    409,
    'ALREADY_EXISTS',
    'ConflictStatusException',
    (d) => `Model version ${d['version']} is already registered for model ${d['model']}`,
  ),
  DEFAULT_VERSION_IN_USE: kind(
    403,
    'FAILED_PRECONDITION',
    'InvalidModelVersionException',
    (d) => `Cannot remove default version for model ${d['model']}`,
  ),
  VERSION_TAKES_TRAFFIC: kind(
    403,
    'FAILED_PRECONDITION',
    'InvalidModelVersionException',
    (d) =>
      `Version ${d['version']} of model ${d['model']} takes part in a split of its requests. Give it the weight 0 or leave it out with PUT /models/${d['model']}/traffic, or end the split with DELETE, first.`,
  ),

  ARCHIVE_NOT_FOUND: kind(
    404,
    'NOT_FOUND',
    'ModelNotFoundException',
    (d) => `Model not found at: ${d['url']}`,
  ),
  ARCHIVE_URL_REFUSED: kind(404, 'PERMISSION_DENIED', 'ModelNotFoundException', reason),
  ARCHIVE_DOWNLOAD_FAILED: kind(
    400,
    'FAILED_PRECONDITION',
    'DownloadArchiveException',
    (d) => `Failed to download archive from: ${d['url']}`,
  ),
  ARCHIVE_INVALID: kind(400, 'INVALID_ARGUMENT', 'InvalidModelException', reason),
  ARCHIVE_UNSAFE: kind(500, 'INVALID_ARGUMENT', 'InternalServerException', reason, (d) =>
    d['archive'] === undefined ? reason(d) : `Failed to save model: ${d['archive']}`,
  ),
  ARCHIVE_EXISTS: kind(
    500,
    'ALREADY_EXISTS',
    'InternalServerException',
    (d) =>
      `Model file already exists ${d['file']}: register it by this name, or give the archive from elsewhere another one.`,
    (d) => `Model file already exists ${d['file']}`,
  ),
  PACK_FAILED: kind(400, 'INVALID_ARGUMENT', 'ModelArchiverError', reason),
  PACK_FILE_NOT_FOUND: kind(404, 'NOT_FOUND', 'FileNotFoundError', reason),

  HANDLER_NOT_FOUND: kind(500, 'FAILED_PRECONDITION', 'InternalServerException', reason),
  HANDLER_INVALID: kind(500, 'FAILED_PRECONDITION', 'InternalServerException', reason),
  MODEL_INVALID: kind(500, 'FAILED_PRECONDITION', 'InternalServerException', reason),
  RUNTIME_UNSUPPORTED: kind(500, 'UNIMPLEMENTED', 'InternalServerException', reason),
  OPTIONS_INVALID: kind(500, 'FAILED_PRECONDITION', 'InternalServerException', reason),

  NO_WORKER: kind(
    503,
    'UNAVAILABLE',
    'ServiceUnavailableException',
    (d) =>
      `Model "${d['model']}" has no worker that could serve the request. Scale it up, or look at its state for why its workers failed.`,
    noWorker,
  ),
  QUEUE_FULL: kind(
    503,
    'RESOURCE_EXHAUSTED',
    'ServiceUnavailableException',
    (d) => `The queue of model "${d['model']}" is full. Try again later, or give the model more workers.`,
    noWorker,
  ),
  SEQUENCE_REFUSED: kind(
    503,
    'RESOURCE_EXHAUSTED',
    'ServiceUnavailableException',
    (d) => `Model "${d['model']}" cannot serve this request of a sequence: ${d['reason']}.`,
    noWorker,
  ),
  OVERLOADED: kind(
    503,
    'RESOURCE_EXHAUSTED',
    'ServiceUnavailableException',
    (d) =>
      `Model "${d['model']}" cannot answer within the deadline of ${d['deadlineMs']} ms: about ${d['expectedMs']} ms of work are before this request. Try again later, or give the model more workers.`,
    noWorker,
  ),
  SHUTTING_DOWN: kind(503, 'UNAVAILABLE', 'ServiceUnavailableException', 'The server is shutting down.'),
  WORKER_DIED: kind(500, 'INTERNAL', 'InternalServerException', 'Worker died.'),
  WORKER_START_TIMEOUT: kind(
    500,
    'INTERNAL',
    'InternalServerException',
    (d) => `The worker was not ready within ${d['timeoutMs']} ms.`,
  ),
  WORKERS_NOT_STARTED: kind(
    500,
    'INTERNAL',
    'InternalServerException',
    (d) => `Failed to start workers for model ${d['model']} version: ${d['version']}`,
  ),

  PREDICTION_FAILED: failedPrediction('Prediction failed'),
  PREDICTION_EXCEPTION: kind(500, 'INTERNAL', 'InternalServerException', reason),
  INVALID_OUTPUT: failedPrediction('Invalid model predict output'),
  BATCH_LENGTH_MISMATCH: failedPrediction('number of batch response mismatched'),
  OUTPUT_NOT_SERIALIZABLE: kind(
    503,
    'INTERNAL',
    'InternalServerException',
    'Unsupported model output data type.',
  ),
  INSUFFICIENT_MEMORY: kind(
    507,
    'RESOURCE_EXHAUSTED',
    'InternalServerException',
    (d) =>
      `Model "${d['model']}" needs about ${d['neededMb']} MB for ${d['workers']} workers and ${d['availableMb']} MB are left. Unregister a model, give it fewer workers, or raise memoryBudgetMb.`,
  ),
  DEVICE_UNAVAILABLE: kind(500, 'FAILED_PRECONDITION', 'InternalServerException', reason),
  OUT_OF_RESOURCES: kind(507, 'RESOURCE_EXHAUSTED', 'InternalServerException', 'Out of resources'),

  DEADLINE_EXCEEDED: kind(
    504,
    'DEADLINE_EXCEEDED',
    'RequestTimeoutException',
    (d) => `The request was not answered within its deadline of ${d['deadlineMs']} ms.`,
  ),
  REQUEST_CANCELLED: kind(499, 'CANCELLED', 'RequestCancelledException', 'The caller cancelled the request.'),
  INTERNAL: kind(500, 'INTERNAL', 'InternalServerException', 'Internal error; the log has the cause.'),
} satisfies Record<string, ErrorKind>;

// One text for both, and with a version its quote is misplaced; clients that match its text depend on that.
function noWorker(details: Record<string, unknown>): string {
  const { model, version } = details;
  const subject = version === undefined ? `Model "${model}"` : `Model "${model}" Version ${version}"`;
  if (details['asked'] === 'describe')
    return `${subject} has no worker to serve describe request. Please use scale workers API to add workers.`;
  return (
    `${subject} has no worker to serve inference request. Please use scale workers API to add workers. ` +
    'If this is a sequence inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize'
  );
}

/** The stable code of an error: what programs match on. */
export type ErrorCode = keyof typeof KINDS;

/** What crosses a thread or process boundary: structured clone would drop `code` and the class. */
export interface EncodedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
  readonly stack?: string;
}

/**
 * The one error class. Match on {@link MarlineError.code}, never on the class or the text.
 *
 * @example throw new MarlineError('MODEL_NOT_FOUND', { model: 'fraud' });
 * @publicApi
 */
export class MarlineError extends Error {
  override readonly name = 'MarlineError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  /**
   * @param details `reason` is the text of the codes that have no text of their own; `status` overrides the HTTP status; `cause` is what the
   * caller is told about why, beside the text of the code
   */
  constructor(code: ErrorCode, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(KINDS[code].message(details), options);
    this.code = code;
    this.details = details;
  }

  /** HTTP status. */
  get status(): number {
    const own = this.details['status'];
    return typeof own === 'number' ? own : KINDS[this.code].status;
  }

  /** The same under the name that error handlers of Node's HTTP frameworks read; Nest's own filter is one of them. */
  get statusCode(): number {
    return this.status;
  }

  /** Tells those handlers that the text may go to the client. */
  get expose(): boolean {
    return this.code !== 'INTERNAL';
  }

  get grpcStatus(): GrpcStatus {
    return KINDS[this.code].grpc;
  }

  /** TorchServe's name for this error, the `type` of its error bodies. */
  get type(): string {
    return KINDS[this.code].type;
  }

  /** What TorchServe's routes say: its text where clients may match on it, else {@link MarlineError.message}. */
  get torchServeMessage(): string {
    return KINDS[this.code].torchServeMessage?.(this.details) ?? this.message;
  }

  toJSON(): EncodedError {
    return encodeError(this);
  }
}

/** True for a MarlineError, also for one of another copy of this package. */
export function isMarlineError(error: unknown): error is MarlineError {
  return (
    error instanceof Error &&
    typeof (error as Partial<MarlineError>).code === 'string' &&
    (error as MarlineError).code in KINDS
  );
}

/** `error` itself when it is one of ours; otherwise a new error of `code` that keeps it as its cause. */
export function toMarlineError(
  error: unknown,
  code: ErrorCode = 'INTERNAL',
  details: ErrorDetails = {},
): MarlineError {
  if (isMarlineError(error)) return error;
  return new MarlineError(code, { reason: messageOf(error), ...details }, { cause: error });
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Prepares an error for another thread; anything foreign becomes `INTERNAL` with its own text as `reason`. */
export function encodeError(error: unknown): EncodedError {
  const own = toMarlineError(error);
  const cause = own.cause instanceof Error ? own.cause : undefined;
  return { code: own.code, message: own.message, details: own.details, stack: cause?.stack ?? own.stack };
}

/** Rebuilds an error that {@link encodeError} prepared; the remote stack becomes the cause's. */
export function decodeError(encoded: EncodedError): MarlineError {
  const cause = new Error(encoded.message);
  if (encoded.stack !== undefined) cause.stack = encoded.stack;
  return new MarlineError(encoded.code, encoded.details, { cause });
}
