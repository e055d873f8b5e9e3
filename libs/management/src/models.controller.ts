import { Controller, Delete, Get, Options, Post, Put, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import {
  Documented,
  ModelRegistry,
  RawBody,
  TorchServeRoutes,
  Undocumented,
  assertEscapes,
  readRawBody,
  sendJson,
} from '#libs/inference';
import { modelManagementDocument } from './management-document.js';
import * as docs from './models-docs.js';
import { ModelOperations, type Outcome } from './model-operations.js';
import type { ParameterSource } from './models.dto.js';

interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

/** A registration is a few names and numbers; a server whose own limit is lower keeps to that. */
const MAX_BODY_BYTES = 64 * 1024;

/**
 * TorchServe's management routes: {@link ModelOperations} over HTTP. Bodies are left unread, like TorchServe leaves them, except
 * JSON of a registration; answers are written past Nest, so that a host's interceptors do not reshape them.
 */
@Controller('models')
@TorchServeRoutes('management')
export class ModelsController {
  constructor(
    private readonly operations: ModelOperations,
    private readonly registry: ModelRegistry,
  ) {}

  /** Registers a model. */
  @Documented(docs.REGISTER)
  @Post()
  @RawBody()
  async register(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    this.operations.assertModelApi();
    sendOutcome(reply, await this.operations.register(await sourceOf(request)));
  }

  /** Ours: what a registration with the same parameters would do. */
  @Documented(docs.PLAN)
  @Post('plan')
  @RawBody()
  async plan(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    this.operations.assertModelApi();
    sendJson(reply, 200, await this.operations.plan(await sourceOf(request)));
  }

  /** The default versions by name, a page at a time. */
  @Documented(docs.LIST)
  @Get()
  @RawBody()
  list(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendJson(reply, 200, this.operations.list(queryOf(request)));
  }

  /** Ours: how the requests that name no version are split. */
  @Documented(docs.TRAFFIC)
  @Get(':model/traffic')
  @RawBody()
  traffic(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendJson(reply, 200, this.operations.traffic((request.params as ModelPath).model));
  }

  /** Ours: splits them. */
  @Documented(docs.SPLIT_TRAFFIC)
  @Put(':model/traffic')
  @RawBody()
  async splitTraffic(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model } = request.params as ModelPath;
    // Before a byte of the body is read.
    this.operations.traffic(model);
    sendOutcome(reply, this.operations.splitTraffic(model, await jsonOf(request)));
  }

  /** Ours: the default version gets all of them again. */
  @Documented(docs.END_SPLIT)
  @Delete(':model/traffic')
  @RawBody()
  endSplit(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendOutcome(reply, this.operations.endSplit((request.params as ModelPath).model));
  }

  /** The default version. */
  @Documented(docs.DESCRIBE)
  @Get(':model')
  @RawBody()
  async describe(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    const { rawHeaders } = request.raw;
    const described = await this.operations.describe(model, version, queryOf(request), rawHeaders);
    // As TorchServe does wherever a worker had a say.
    const reason = described.customized ? '' : undefined;
    sendJson(reply, 200, described.versions, reason);
  }

  /** The version in the path, or (`all`) every version. */
  @Documented(docs.DESCRIBE_VERSION)
  @Get(':model/:version')
  @RawBody()
  describeVersion(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.describe(request, reply);
  }

  /** The same: TorchServe does not look at what comes behind. */
  @Undocumented()
  @Get(':model/:version/set-default')
  @RawBody()
  describePath(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.describe(request, reply);
  }

  /** TorchServe's document of how a model is managed. */
  @Undocumented()
  @Options([':model', ':model/:version'])
  document(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version } = request.params as ModelPath;
    sendJson(reply, 200, modelManagementDocument(this.registry.get(model, version).name));
  }

  /** Changes the number of workers. */
  @Documented(docs.SCALE)
  @Put(':model')
  @RawBody()
  async scale(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    sendOutcome(reply, await this.operations.scale(model, version, queryOf(request)));
  }

  /** The same of the version in the path. */
  @Documented(docs.SCALE_VERSION)
  @Put(':model/:version')
  @RawBody()
  scaleVersion(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.scale(request, reply);
  }

  /** Makes a version the default. */
  @Documented(docs.SET_DEFAULT)
  @Put(':model/:version/set-default')
  @RawBody()
  setDefault(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version = '' } = request.params as ModelPath;
    sendOutcome(reply, this.operations.setDefault(model, version));
  }

  /** Takes the default version out of service. */
  @Documented(docs.UNREGISTER)
  @Delete(':model')
  @RawBody()
  async unregister(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    sendOutcome(reply, await this.operations.unregister(model, version));
  }

  /** The same for the version in the path. */
  @Documented(docs.UNREGISTER_VERSION)
  @Delete(':model/:version')
  @RawBody()
  unregisterVersion(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.unregister(request, reply);
  }
}

function sendOutcome(reply: FastifyReply, { text, done }: Outcome): void {
  sendJson(reply, done ? 200 : 202, { status: text });
}

// Read here and not from `request.query`: the host may have a query parser of its own.
function queryOf({ raw }: FastifyRequest): ParameterSource {
  const { url = '' } = raw;
  assertEscapes(url);
  const [, ...query] = url.split('?');
  return { kind: 'query', query: new URLSearchParams(query.join('?')) };
}

async function sourceOf(request: FastifyRequest): Promise<ParameterSource> {
  const mediaType = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim();
  if (mediaType?.toLowerCase() !== 'application/json') return queryOf(request);
  return { kind: 'json', body: objectOf(await jsonOf(request)) };
}

async function jsonOf(request: FastifyRequest): Promise<unknown> {
  const limitBytes = Math.min(MAX_BODY_BYTES, request.routeOptions.bodyLimit ?? MAX_BODY_BYTES);
  const text = (await readRawBody(request, limitBytes)).toString();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MarlineError('BAD_REQUEST', { reason: 'The body is not valid JSON.' }, { cause });
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new MarlineError('BAD_REQUEST', { reason: 'The body is not a JSON object with the parameters.' });
  }
  return value as Readonly<Record<string, unknown>>;
}
