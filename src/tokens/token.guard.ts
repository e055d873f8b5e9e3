import type { CanActivate, ExecutionContext } from '@nestjs/common';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import { planeOf, planesOf, sendError } from '#libs/inference';
import type { TokenKeys, TokenPurpose } from './token-keys.js';

const ALL: readonly TokenPurpose[] = ['inference', 'management'];

/** A call of gRPC, as far as it is looked at here. */
interface GrpcCall {
  readonly metadata?: { get(name: string): readonly unknown[] };
}

/** Asks every request over HTTP and gRPC for the key of the API that its route belongs to. Metrics need none. */
export class TokenGuard implements CanActivate {
  constructor(private readonly keys: TokenKeys) {}

  /** @throws MarlineError `TOKEN_REFUSED` */
  canActivate(context: ExecutionContext): boolean {
    const plane = planeOf(context.getHandler());
    if (plane === 'metrics') return true;
    // What says nothing of itself is not open for that.
    const purposes = plane === undefined ? ALL : [plane];
    if (context.getType() === 'rpc') {
      // The last argument, also where requests are a stream and it is the only one.
      const call = context.getArgs<unknown[]>().findLast((argument) => argument !== undefined);
      const [authorization] = (call as GrpcCall | undefined)?.metadata?.get('authorization') ?? [];
      this.#check(purposes, authorization === undefined ? undefined : String(authorization));
    } else {
      const request = context.switchToHttp().getRequest<FastifyRequest>();
      this.#check(purposes, request.headers.authorization);
      removeAuthorization(request.raw.rawHeaders);
    }
    return true;
  }

  #check(purposes: readonly TokenPurpose[], authorization: string | undefined): void {
    if (!purposes.some((purpose) => this.keys.allows(purpose, authorization)))
      throw new MarlineError('TOKEN_REFUSED', { asked: 'Authorization' });
  }
}

/**
 * Asks for a key before it is told that there is no such path, as TorchServe does. To be called before other hooks answer
 * such requests.
 */
export function askForTokens(fastify: FastifyInstance, keys: TokenKeys): void {
  fastify.addHook('onRequest', (request, reply, done) => {
    if (!request.is404) return done();
    const purposes = planesOf(request).filter((plane) => plane !== 'metrics');
    const { authorization } = request.headers;
    if (purposes.length === 0 || purposes.some((purpose) => keys.allows(purpose, authorization)))
      return done();
    sendError(reply, new MarlineError('TOKEN_REFUSED', { asked: 'Authorization' }));
  });
}

/** Handlers get the headers of a request, and whoever wrote one needs no key of this server. */
function removeAuthorization(rawHeaders: string[]): void {
  for (let at = rawHeaders.length - 2; at >= 0; at -= 2)
    if (rawHeaders[at]?.toLowerCase() === 'authorization') rawHeaders.splice(at, 2);
}
