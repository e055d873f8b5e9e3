import type { FastifyInstance } from 'fastify';
import type { SettingValues } from './configuration.js';

type CorsSettings = Pick<SettingValues, 'corsAllowedOrigin' | 'corsAllowedMethods' | 'corsAllowedHeaders'>;

/**
 * Puts the configured CORS fields on every answer of every port, as TorchServe does: a preflight is answered like any other
 * request. A field that the handler of a model sets itself stays. To be called before other hooks may answer.
 */
export function useCors(fastify: FastifyInstance, settings: CorsSettings): void {
  const fields = [
    ['access-control-allow-origin', settings.corsAllowedOrigin],
    ['access-control-allow-methods', settings.corsAllowedMethods],
    ['access-control-allow-headers', settings.corsAllowedHeaders],
  ].filter(([, value]) => value !== '');
  if (fields.length === 0) return;
  const headers = Object.fromEntries(fields) as Record<string, string>;
  fastify.addHook('onRequest', (_request, reply, done) => {
    reply.headers(headers);
    done();
  });
}
