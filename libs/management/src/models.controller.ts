import { Controller, Delete, Get, Inject, Optional, Post, Put, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError, isMarlineError } from '#libs/common';
import { ModelRegistry, RawBody, TorchServeRoutes, readRawBody, sendJson } from '#libs/inference';
import { MANAGEMENT_OPTIONS, type ManagementOptions } from './management.options.js';
import { describeModel } from './model-description.js';
import {
  DescribeModelDto,
  ListModelsDto,
  RegisterModelDto,
  ScaleModelDto,
  readParameters,
  type ParameterSource,
} from './models.dto.js';

interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

/** A registration is a few names and numbers. */
const MAX_BODY_BYTES = 64 * 1024;
const MAX_PAGE = 100;
const IN_PROGRESS = 'Processing worker updates...';

/**
 * TorchServe's management routes. Bodies are left unread, like TorchServe leaves them, except JSON of a
 * registration; answers are written past Nest, so that a host's interceptors do not reshape them.
 */
@Controller('models')
@TorchServeRoutes('management')
export class ModelsController {
  constructor(
    private readonly registry: ModelRegistry,
    @Optional() @Inject(MANAGEMENT_OPTIONS) private readonly options: ManagementOptions | undefined,
  ) {}

  /**
   * Registers a model of the model store; synchronous unless told otherwise. With `replace=true` it takes the place of the
   * default version of its name.
   */
  @Post()
  @RawBody()
  async register(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    this.#assertModelApi();
    const parameters = readParameters(RegisterModelDto, await sourceOf(request));
    if (parameters.replace) {
      await this.#replace(parameters, reply);
      return;
    }
    const { name, version, settings } = await this.registry.register(parameters);
    const registered = `Model "${name}" Version: ${version} registered with ${settings.minWorkers} initial workers`;
    if (settings.minWorkers === 0) {
      sendStatus(reply, 200, `${registered}. Use scale workers API to add workers for the model.`);
    } else if (parameters.synchronous) {
      sendStatus(reply, 200, registered);
    } else {
      sendStatus(reply, 202, IN_PROGRESS);
    }
  }

  /** Ours: what a registration with the same parameters would do. Nothing is registered. */
  @Post('plan')
  @RawBody()
  async plan(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    this.#assertModelApi();
    const parameters = readParameters(RegisterModelDto, await sourceOf(request));
    sendJson(reply, 200, await this.registry.plan(parameters));
  }

  /** The default versions by name, a page at a time. */
  @Get()
  @RawBody()
  list(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { limit = MAX_PAGE, nextPageToken = 0 } = readParameters(ListModelsDto, queryOf(request));
    const count = limit < 0 || limit > MAX_PAGE ? MAX_PAGE : limit;
    const start = Math.max(0, nextPageToken);
    const names = this.registry.names();
    sendJson(reply, 200, {
      // TorchServe gives a token also when the next page is empty.
      nextPageToken: start + count <= names.length ? String(start + count) : undefined,
      models: names
        .slice(start, start + count)
        .map((modelName) => ({ modelName, modelUrl: this.registry.get(modelName).archive.url })),
    });
  }

  /** The default version, the one in the path, or (`all`) every version; with `customized=true` also what its handler says. */
  @Get([':model', ':model/:version'])
  @RawBody()
  async describe(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    const { customized } = readParameters(DescribeModelDto, queryOf(request));
    if (version === 'all') {
      sendJson(reply, 200, this.registry.versions(model).map(describeModel));
      return;
    }
    const runtime = this.registry.get(model, version);
    if (!customized) {
      sendJson(reply, 200, [describeModel(runtime)]);
      return;
    }
    const customizedMetadata = await runtime.describe(request.raw.rawHeaders);
    // As TorchServe does wherever a worker had a say.
    sendJson(reply, 200, [{ ...describeModel(runtime), customizedMetadata }], '');
  }

  /** Changes the number of workers; not synchronous unless told so. */
  @Put([':model', ':model/:version'])
  @RawBody()
  async scale(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const path = request.params as ModelPath;
    const {
      minWorker = 1,
      maxWorker = minWorker,
      modelVersion,
      synchronous,
    } = readParameters(ScaleModelDto, queryOf(request));
    if (minWorker < 0) throw new MarlineError('BAD_REQUEST', { reason: 'min_worker cannot be negative.' });
    const version = path.version ?? modelVersion;
    await this.registry.scale(path.model, version, minWorker, maxWorker, { synchronous });
    const scaled = `Workers scaled to ${minWorker} for model: ${path.model}${version === undefined ? '' : `, version: ${version}`}`;
    sendStatus(reply, synchronous ? 200 : 202, synchronous ? scaled : IN_PROGRESS);
  }

  /** Makes a version the one that answers when no version is asked for. */
  @Put(':model/:version/set-default')
  @RawBody()
  setDefault(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version = '' } = request.params as ModelPath;
    try {
      this.registry.setDefault(model, version);
    } catch (error) {
      if (!isMarlineError(error) || error.code !== 'MODEL_VERSION_NOT_FOUND') throw error;
      // TorchServe has other words for this here than everywhere else.
      const reason = `Model version ${version} does not exist for model ${model}`;
      throw new MarlineError(error.code, { ...error.details, reason }, { cause: error });
    }
    sendStatus(reply, 200, `Default version successfully updated for model "${model}" to "${version}"`);
  }

  /** Takes the default version, or the one in the path, out of service after it answered what it accepted. */
  @Delete([':model', ':model/:version'])
  @RawBody()
  async unregister(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    this.#assertModelApi();
    const { model, version } = request.params as ModelPath;
    await this.registry.unregister(model, version);
    sendStatus(reply, 200, `Model "${model}" unregistered`);
  }

  async #replace(parameters: RegisterModelDto, reply: FastifyReply): Promise<void> {
    const { runtime, replaced } = await this.registry.replace(parameters);
    if (!parameters.synchronous) {
      sendStatus(reply, 202, IN_PROGRESS);
      return;
    }
    const { name, version } = runtime;
    const workers = runtime.status().readyWorkers;
    const of = replaced === undefined ? '' : ` in the place of version ${replaced}`;
    sendStatus(reply, 200, `Model "${name}" Version: ${version} serves with ${workers} workers${of}`);
  }

  #assertModelApi(): void {
    if (this.options?.enableModelApi === false) throw new MarlineError('METHOD_NOT_ALLOWED');
  }
}

function sendStatus(reply: FastifyReply, code: number, status: string): void {
  sendJson(reply, code, { status });
}

// Read here and not from `request.query`: the host may have a query parser of its own.
function queryOf({ raw }: FastifyRequest): ParameterSource {
  const [, ...query] = (raw.url ?? '').split('?');
  return { kind: 'query', query: new URLSearchParams(query.join('?')) };
}

async function sourceOf(request: FastifyRequest): Promise<ParameterSource> {
  const mediaType = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim();
  if (mediaType?.toLowerCase() !== 'application/json') return queryOf(request);
  return { kind: 'json', body: parseObject((await readRawBody(request, MAX_BODY_BYTES)).toString()) };
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MarlineError('BAD_REQUEST', { reason: 'The body is not valid JSON.' }, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new MarlineError('BAD_REQUEST', { reason: 'The body is not a JSON object with the parameters.' });
  }
  return value as Readonly<Record<string, unknown>>;
}
