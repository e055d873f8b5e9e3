import { Catch, HttpException, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { MarlineError, toMarlineError } from '#libs/common';
import { sendBareStatus, sendJson } from './response-head.js';

const MAX_CAUSE_LENGTH = 2000;

/**
 * Answers our errors in TorchServe's shape. Bound to our controllers only, and to {@link MarlineError} only: what the
 * host's guards and interceptors throw goes on to the host's own filters.
 */
@Catch(MarlineError)
export class TorchServeExceptionFilter implements ExceptionFilter<MarlineError> {
  readonly #logger = new Logger('Marline');

  catch(error: MarlineError, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    if (error.code === 'INTERNAL') this.#logger.error(error.cause ?? error);
    if (reply.raw.headersSent) {
      reply.raw.destroy();
    } else {
      this.answer(reply, error);
    }
  }

  /** The answer itself, for routes that give another one. */
  protected answer(reply: FastifyReply, error: MarlineError): void {
    if (error.code === 'PAYLOAD_TOO_LARGE') sendBareStatus(reply, error.status);
    else sendError(reply, error);
  }
}

/** What a handler of ours threw as one of our errors; Nest's own exceptions stay what they are. */
export function ownError(error: unknown): Error {
  return error instanceof HttpException ? error : toMarlineError(error);
}

/** Sends an error in TorchServe's shape. */
export function sendError(reply: FastifyReply, error: MarlineError): void {
  sendJson(reply, error.status, errorBody(error));
}

/** TorchServe's error body; also `cause`, why, when workers did not start, and where there is more to tell than TorchServe does. */
export function errorBody(error: MarlineError): Record<string, unknown> {
  const { status, type, torchServeMessage: message } = error;
  const cause = error.code === 'WORKERS_NOT_STARTED' ? causeText(error) : error.details['cause'];
  return { code: status, type, message, ...(typeof cause === 'string' && cause !== '' && { cause }) };
}

/** The messages of an error's causes, outermost first, without what tells about the server's disks. */
function causeText(error: Error): string {
  const texts: string[] = [];
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    const text = withoutPaths(cause.message);
    if (text !== '' && !texts.includes(text)) texts.push(text);
  }
  return texts.join(': ').slice(0, MAX_CAUSE_LENGTH);
}

const QUOTED_PATH = /(['"`])(?:file:\/\/)?(?:[A-Za-z]:)?[\\/][^'"`]*[\\/]([^'"`\\/]*)\1/g;
const BARE_PATH =
  /(?<![\w.:/-])(?:file:\/\/)?(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'"`<>()]+[\\/])+([^\s\\/:'"`<>(),;]*)/g;

/** Shortens absolute paths in a text to their last name. */
function withoutPaths(text: string): string {
  return text.replaceAll(QUOTED_PATH, '$1$2$1').replaceAll(BARE_PATH, '$1');
}
