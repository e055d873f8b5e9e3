import { All, Controller, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  DocumentedAs,
  RawBody,
  TorchServeRoutes,
  Undocumented,
  queryParameter,
  sendBody,
} from '#libs/inference';
import { ServerMetrics } from './server-metrics.js';

const NAMES = queryParameter('name[]', 'Only samples of this name; may be repeated.');
const METRICS = {
  description: 'The metrics.',
  parameters: [NAMES],
  responses: {
    200: {
      description: 'In the text format of Prometheus.',
      content: { 'text/plain': { schema: { type: 'string' } } },
    },
  },
};

const TEXT_FORMAT = [['content-type', 'text/plain; version=0.0.4; charset=utf-8']] as const;

/** TorchServe's metrics route, for every method and whatever stands behind it. */
@Controller()
@TorchServeRoutes('metrics')
export class MetricsController {
  constructor(private readonly metrics: ServerMetrics) {}

  /** The text format of Prometheus; with `name[]`, once or more, only samples of these names. */
  @DocumentedAs('get', METRICS)
  @All('metrics')
  @RawBody()
  async read(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const [, query = ''] = (request.raw.url ?? '').split('?', 2);
    // Not the parsed query: how that reads "name[]" is up to the application.
    const names = new URLSearchParams(query).getAll('name[]');
    const text = await this.metrics.text(names.length === 0 ? undefined : new Set(names));
    sendBody(reply, { status: 200, headers: TEXT_FORMAT }, text);
  }

  /** The same, whatever stands behind it. */
  @Undocumented()
  @All('metrics/*')
  @RawBody()
  readPath(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.read(request, reply);
  }
}
