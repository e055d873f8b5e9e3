import { status } from '@grpc/grpc-js';
import { HttpException } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { toMarlineError, type ErrorCode, type MarlineError } from '#libs/common';

/** The end of a failed call: what grpc-js makes of it is the status of the call. */
export interface GrpcError {
  readonly code: status;
  readonly details: string;
}

/** An error as TorchServe's own services tell it: its text, and the class that Java has for it. */
export interface TorchServeError {
  readonly code: status;
  readonly message: string;
  /** Missing where a guard refused. */
  readonly className?: string;
}

/**
 * Whose errors a call gives: those of TorchServe's predictions, of its questions about a model, of its management service, or
 * plain ones.
 */
export type ErrorStyle = 'predictions' | 'questions' | 'management' | 'plain';

/** TorchServe's gRPC status for an HTTP status. */
const STATUS_OF_HTTP: ReadonlyMap<number, status> = new Map([
  [400, status.INVALID_ARGUMENT],
  [401, status.UNAUTHENTICATED],
  [403, status.PERMISSION_DENIED],
  [404, status.NOT_FOUND],
  [409, status.ABORTED],
  [413, status.RESOURCE_EXHAUSTED],
  [416, status.OUT_OF_RANGE],
  [429, status.RESOURCE_EXHAUSTED],
  [499, status.CANCELLED],
  [501, status.UNIMPLEMENTED],
  [503, status.UNAVAILABLE],
  [504, status.DEADLINE_EXCEEDED],
]);

const HTTP = 'org.pytorch.serve.http';
const ARCHIVE = 'org.pytorch.serve.archive';
const MODEL = `${ARCHIVE}.model`;
const CLASS_NAMES: Readonly<Record<string, string>> = {
  ModelNotFoundException: `${MODEL}.ModelNotFoundException`,
  ModelVersionNotFoundException: `${MODEL}.ModelVersionNotFoundException`,
  InvalidModelException: `${MODEL}.InvalidModelException`,
  DownloadArchiveException: `${ARCHIVE}.DownloadArchiveException`,
};

/** What TorchServe's inference service finds out before a worker is asked: `INTERNAL`, and where nothing was thrown in Java, a name of its own. */
const BEFORE_THE_WORKER: Readonly<Partial<Record<ErrorCode, string>>> = {
  BAD_REQUEST: 'BadRequestException.()',
  MODEL_NOT_FOUND: `${MODEL}.ModelNotFoundException`,
  MODEL_VERSION_NOT_FOUND: `${MODEL}.ModelVersionNotFoundException`,
  NO_WORKER: 'InternalServerException.()',
  QUEUE_FULL: 'InternalServerException.()',
  OVERLOADED: 'InternalServerException.()',
};

/** Whatever a service or a guard of it threw, as the end of a call. */
export function grpcErrorOf(thrown: unknown, style: ErrorStyle): GrpcError {
  const refused = refusalOf(thrown);
  if (refused !== undefined) return refused;
  const error = toMarlineError(thrown);
  // As with other guards, there is no class of Java behind the words.
  if (style === 'plain' || error.code === 'TOKEN_REFUSED')
    return { code: status[error.grpcStatus], details: error.message };
  const { code, message, className } = torchServeErrorOf(error, style);
  return { code, details: `${message}\n${className}` };
}

/** How TorchServe tells an error of ours. */
export function torchServeErrorOf(
  error: MarlineError,
  style: Exclude<ErrorStyle, 'plain'>,
): Required<TorchServeError> {
  const message = error.torchServeMessage;
  const className = CLASS_NAMES[error.type] ?? `${HTTP}.${error.type}`;
  if (style === 'management') {
    if (error.code === 'METHOD_NOT_ALLOWED')
      return {
        code: status.PERMISSION_DENIED,
        message: 'Model API disabled',
        className: `${MODEL}.ModelException`,
      };
    return { code: statusOfHttp(error.status), message, className };
  }
  const early = BEFORE_THE_WORKER[error.code];
  if (early !== undefined) {
    const isMissing = style === 'questions' && error.status === 404;
    return { code: isMissing ? status.NOT_FOUND : status.INTERNAL, message, className: early };
  }
  return { code: statusOfHttp(error.status), message, className: `${HTTP}.InternalServerException` };
}

/** An exception of Nest's, such as a guard throws, keeps its own words. */
function refusalOf(thrown: unknown): GrpcError | undefined {
  if (thrown instanceof HttpException)
    return { code: statusOfHttp(thrown.getStatus()), details: thrown.message };
  if (!(thrown instanceof RpcException)) return undefined;
  const error = thrown.getError();
  const code = typeof error === 'object' && 'code' in error ? error.code : undefined;
  return { code: typeof code === 'number' ? code : status.PERMISSION_DENIED, details: thrown.message };
}

function statusOfHttp(http: number): status {
  const known = STATUS_OF_HTTP.get(http);
  if (known !== undefined) return known;
  if (http >= 400 && http < 500) return status.FAILED_PRECONDITION;
  return http >= 500 && http < 600 ? status.INTERNAL : status.UNKNOWN;
}
