import { All, Controller, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import { BatchingInterceptor, type PredictionTarget } from './batching.interceptor.js';
import { RawBody } from './raw-body.js';
import { TorchServeRoutes } from './torchserve-routes.js';

/**
 * TorchServe's prediction routes, for every HTTP method. What stands behind the version is the handler's `url_path`.
 * The interceptor answers what the methods return; the unused `@Res()` keeps Nest from answering as well.
 */
@Controller()
@TorchServeRoutes('inference', BatchingInterceptor)
export class PredictionsController {
  /** Answers with the default version, or the one in the path. */
  @All(['predictions/:model', 'predictions/:model/:version', 'predictions/:model/:version/*'])
  @RawBody()
  predict(@Req() request: FastifyRequest, @Res() _reply: FastifyReply): PredictionTarget {
    return targetOf(request, false);
  }

  /** As predictions, for the handler's `explain` hook. */
  @All(['explanations/:model', 'explanations/:model/:version', 'explanations/:model/:version/*'])
  @RawBody()
  explain(@Req() request: FastifyRequest, @Res() _reply: FastifyReply): PredictionTarget {
    return targetOf(request, true);
  }
}

// TorchServe decodes the path before it splits it, so "%2F" separates; empty segments at the end do not count.
function targetOf(request: FastifyRequest, explain: boolean): PredictionTarget {
  // A preflight of a browser must never run a model.
  if (request.method === 'OPTIONS') throw new MarlineError('METHOD_NOT_ALLOWED');
  const {
    model = '',
    version,
    '*': rest,
  } = request.params as { model?: string; version?: string; '*'?: string };
  const path = [model, version, rest]
    .filter((part) => part !== undefined)
    .join('/')
    .replace(/\/+$/, '');
  const [name = '', ofVersion, ...urlPath] = path.split('/');
  return { model: name, version: ofVersion, urlPath: urlPath.join('/'), explain };
}
