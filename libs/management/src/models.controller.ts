import { Controller, Delete, Get, Options, Post, Put, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import {
  ModelRegistry,
  RawBody,
  TorchServeRoutes,
  assertEscapes,
  readRawBody,
  sendJson,
} from '#libs/inference';
import { modelManagementDocument } from './management-document.js';
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
  @Post()
  @RawBody()
  async register(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    this.operations.assertModelApi();
    sendOutcome(reply, await this.operations.register(await sourceOf(request)));
  }

  /** Ours: what a registration with the same parameters would do. */
  @Post('plan')
  @RawBody()
  async plan(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    this.operations.assertModelApi();
    sendJson(reply, 200, await this.operations.plan(await sourceOf(request)));
  }

  /** The default versions by name, a page at a time. */
  @Get()
  @RawBody()
  list(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendJson(reply, 200, this.operations.list(queryOf(request)));
  }

  /** Ours: how the requests that name no version are split. */
  @Get(':model/traffic')
  @RawBody()
  traffic(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendJson(reply, 200, this.operations.traffic((request.params as ModelPath).model));
  }

  /** Ours: splits them. */
  @Put(':model/traffic')
  @RawBody()
  async splitTraffic(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model } = request.params as ModelPath;
    // Before a byte of the body is read.
    this.operations.traffic(model);
    sendOutcome(reply, this.operations.splitTraffic(model, await jsonOf(request)));
  }

  /** Ours: the default version gets all of them again. */
  @Delete(':model/traffic')
  @RawBody()
  endSplit(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendOutcome(reply, this.operations.endSplit((request.params as ModelPath).model));
  }

  /** The default version, the one in the path, or (`all`) every version. TorchServe does not look at what comes behind. */
  @Get([':model', ':model/:version', ':model/:version/set-default'])
  @RawBody()
  async describe(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    const { rawHeaders } = request.raw;
    const described = await this.operations.describe(model, version, queryOf(request), rawHeaders);
    // As TorchServe does wherever a worker had a say.
    const reason = described.customized ? '' : undefined;
    sendJson(reply, 200, described.versions, reason);
  }

  /** TorchServe's document of how a model is managed. */
  @Options([':model', ':model/:version'])
  document(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version } = request.params as ModelPath;
    sendJson(reply, 200, modelManagementDocument(this.registry.get(model, version).name));
  }

  /** Changes the number of workers. */
  @Put([':model', ':model/:version'])
  @RawBody()
  async scale(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    sendOutcome(reply, await this.operations.scale(model, version, queryOf(request)));
  }

  /** Makes a version the default. */
  @Put(':model/:version/set-default')
  @RawBody()
  setDefault(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version = '' } = request.params as ModelPath;
    sendOutcome(reply, this.operations.setDefault(model, version));
  }

  /** Takes the default version, or the one in the path, out of service. */
  @Delete([':model', ':model/:version'])
  @RawBody()
  async unregister(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    sendOutcome(reply, await this.operations.unregister(model, version));
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
