import { All, Controller, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DocumentedAs } from './documented.js';
import {
  EXPLAIN,
  EXPLAIN_PATH,
  EXPLAIN_VERSION,
  PREDICT,
  PREDICT_PATH,
  PREDICT_VERSION,
} from './inference-docs.js';
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

  /** Answers with the default version. */
  @DocumentedAs('post', PREDICT)
  @All('predictions/:model')
  @RawBody()
  predict(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.responder.respond(targetOf(request, false), request, reply);
  }

  /** Answers with the version in the path. */
  @DocumentedAs('post', PREDICT_VERSION)
  @All('predictions/:model/:version')
  @RawBody()
  predictVersion(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.responder.respond(targetOf(request, false), request, reply);
  }

  /** The same, with a path for the handler. */
  @DocumentedAs('post', PREDICT_PATH)
  @All('predictions/:model/:version/*')
  @RawBody()
  predictPath(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.responder.respond(targetOf(request, false), request, reply);
  }

  /** As predictions, for the handler's `explain` hook. */
  @DocumentedAs('post', EXPLAIN)
  @All('explanations/:model')
  @RawBody()
  explain(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.responder.respond(targetOf(request, true), request, reply);
  }

  /** The same of the version in the path. */
  @DocumentedAs('post', EXPLAIN_VERSION)
  @All('explanations/:model/:version')
  @RawBody()
  explainVersion(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.responder.respond(targetOf(request, true), request, reply);
  }

  /** The same, with a path for the handler. */
  @DocumentedAs('post', EXPLAIN_PATH)
  @All('explanations/:model/:version/*')
  @RawBody()
  explainPath(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
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
