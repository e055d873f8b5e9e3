import { Catch, Logger, type ArgumentsHost, type RpcExceptionFilter } from '@nestjs/common';
import { throwError, type Observable } from 'rxjs';
import { isMarlineError } from '#libs/common';
import type { GrpcCall } from './grpc-call.js';
import { grpcErrorOf, type ErrorStyle } from './grpc-status.js';

const STANDARD_PACKAGE = '/inference.';
const QUESTION = /\/Model(Ready|Metadata)$/;
const MANAGEMENT_PACKAGE = '/org.pytorch.serve.grpc.management.';

/**
 * Ends calls of our services with the status of what was thrown: by TorchServe's rules and in its words in its own packages, by
 * our table in the standard one.
 */
@Catch()
export class GrpcExceptionFilter implements RpcExceptionFilter {
  readonly #logger = new Logger('Marline');

  catch(thrown: unknown, host: ArgumentsHost): Observable<never> {
    if (!isMarlineError(thrown) || thrown.code === 'INTERNAL') this.#logUnexpected(thrown);
    const call = host.getArgs().findLast(isCall);
    return throwError(() => grpcErrorOf(thrown, styleOf(call?.getPath() ?? '')));
  }

  #logUnexpected(thrown: unknown): void {
    // An exception of a guard is an answer, not a failure.
    if (thrown instanceof Error && 'getStatus' in thrown) return;
    if (thrown instanceof Error && 'getError' in thrown) return;
    this.#logger.error((thrown as Error | undefined)?.cause ?? thrown);
  }
}

/** Whose errors a call of this path gives. */
function styleOf(path: string): ErrorStyle {
  if (path.startsWith(STANDARD_PACKAGE)) return 'plain';
  if (path.startsWith(MANAGEMENT_PACKAGE)) return 'management';
  return QUESTION.test(path) ? 'questions' : 'predictions';
}

// Handlers get (message, metadata, call), or the call alone where the requests are a stream.
function isCall(argument: unknown): argument is GrpcCall {
  return typeof (argument as Partial<GrpcCall> | undefined)?.getPath === 'function';
}
