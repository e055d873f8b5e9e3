import type { FastifyReply } from 'fastify';
import type { ModelRegistry } from './model-registry.js';
import { sendJson } from './response-head.js';

/**
 * Answers KServe's question whether a model is ready, as TorchServe does: as soon as it has a worker, in whatever state.
 * @param target the model's name, up to a colon
 * @throws MarlineError `MODEL_NOT_FOUND`
 */
export function sendModelReadiness(registry: ModelRegistry, target: string, reply: FastifyReply): void {
  const [name = ''] = target.split(':');
  sendJson(reply, 200, { name, ready: registry.get(name).workers().length > 0 });
}
