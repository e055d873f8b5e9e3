import { All, Controller, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { PredictionResponder } from './prediction-responder.js';
import { RawBody } from './raw-body.js';
import { RawTarget } from './raw-target.js';
import { TorchServeRoutes } from './torchserve-routes.js';

/**
 * TorchServe's prediction routes, for every HTTP method. What stands behind the version is the handler's `url_path`.
 * With `@Res()` Nest leaves the answer to the methods.
 */
@Controller()
@TorchServeRoutes('inference', [])
export class PredictionsController {
  constructor(private readonly responder: PredictionResponder) {}

  /** Answers with the default version, or the one in the path. */
  @All(['predictions/:model', 'predictions/:model/:version', 'predictions/:model/:version/*'])
  @RawBody()
  predict(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.responder.respond(targetOf(request, false), request, reply);
  }

  /** As predictions, for the handler's `explain` hook. */
  @All(['explanations/:model', 'explanations/:model/:version', 'explanations/:model/:version/*'])
  @RawBody()
  explain(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.responder.respond(targetOf(request, true), request, reply);
  }
}

interface PredictionPath {
  readonly model: string;
  readonly version?: string;
  readonly '*'?: string;
}

// TorchServe decodes the path before it splits it, so "%2F" separates; empty segments at the end do not count.
function targetOf({ params }: FastifyRequest, explain: boolean): RawTarget {
  const { model, version, '*': rest } = params as PredictionPath;
  if (version === undefined && !model.includes('/'))
    return new RawTarget(model, undefined, { explain, urlPath: '' });
  const path = [model, version, rest]
    .filter((part) => part !== undefined)
    .join('/')
    .replace(/\/+$/, '');
  const [name = '', ofVersion, ...urlPath] = path.split('/');
  return new RawTarget(name, ofVersion, { explain, urlPath: urlPath.join('/') });
}
