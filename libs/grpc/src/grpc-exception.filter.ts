import { Catch, HttpException, Logger, type ArgumentsHost, type RpcExceptionFilter } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { throwError, type Observable } from 'rxjs';
import { isMarlineError } from '#libs/common';
import { callOf } from './grpc-call.js';
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
    if (!isAnswer(thrown)) this.#logger.error((thrown as Error | undefined)?.cause ?? thrown);
    const path = callOf(host)?.getPath() ?? '';
    return throwError(() => grpcErrorOf(thrown, styleOf(path)));
  }
}

/** True for an error that says what is wrong, ours or a guard's; all else is for the log. */
function isAnswer(thrown: unknown): boolean {
  if (isMarlineError(thrown)) return thrown.code !== 'INTERNAL';
  return thrown instanceof HttpException || thrown instanceof RpcException;
}

/** Whose errors a call of this path gives. */
function styleOf(path: string): ErrorStyle {
  if (path.startsWith(STANDARD_PACKAGE)) return 'plain';
  if (path.startsWith(MANAGEMENT_PACKAGE)) return 'management';
  return QUESTION.test(path) ? 'questions' : 'predictions';
}
