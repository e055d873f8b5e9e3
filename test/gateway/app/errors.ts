import { Catch, HttpException, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isMarlineError } from '#libs/serve';

/** The one error format of this gateway, for its 404s too: problem details. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  private readonly logger = new Logger('Gateway');

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const { url } = http.getRequest<FastifyRequest>();
    const status = statusOf(error);
    if (status >= 500) this.logger.error(error);
    const detail = status === 500 || !(error instanceof Error) ? 'Something went wrong.' : error.message;
    void http
      .getResponse<FastifyReply>()
      .status(status)
      .header('content-type', 'application/problem+json')
      .send(
        JSON.stringify({
          type: `https://shop.example/problems/${status}`,
          status,
          detail,
          instance: url.split('?')[0],
        }),
      );
  }
}

function statusOf(error: unknown): number {
  if (error instanceof HttpException) return error.getStatus();
  if (isMarlineError(error)) return error.status;
  const { statusCode } = error as { statusCode?: unknown };
  return typeof statusCode === 'number' ? statusCode : 500;
}
