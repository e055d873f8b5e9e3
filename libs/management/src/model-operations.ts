import { Inject, Injectable, Optional } from '@nestjs/common';
import { MarlineError, isMarlineError } from '#libs/common';
import { ModelRegistry, type ModelRuntime, type TrafficWeights } from '#libs/inference';
import { MANAGEMENT_OPTIONS, type ManagementOptions } from './management.options.js';
import { describeModel, type ModelDescription } from './model-description.js';
import {
  DescribeModelDto,
  ListModelsDto,
  RegisterModelDto,
  ScaleModelDto,
  readParameters,
  type ParameterSource,
} from './models.dto.js';
import { TrafficDto } from './traffic.dto.js';

/** What became of a change. */
export interface Outcome {
  /** TorchServe's text. */
  readonly text: string;
  /** False while it goes on in the background. */
  readonly done: boolean;
}

/** One page of the list of models. */
export interface ModelPage {
  /** Where the next page begins; TorchServe has one also in front of an empty page. */
  readonly nextPageToken?: string;
  readonly models: readonly { readonly modelName: string; readonly modelUrl: string }[];
}

const MAX_PAGE = 100;
const IN_PROGRESS: Outcome = { text: 'Processing worker updates...', done: false };

/**
 * The management API without a protocol: parameters as a client gave them, TorchServe's answers to them. HTTP and gRPC
 * are doors to it. All methods throw (or reject with) a MarlineError.
 */
@Injectable()
export class ModelOperations {
  constructor(
    private readonly registry: ModelRegistry,
    @Optional() @Inject(MANAGEMENT_OPTIONS) private readonly options: ManagementOptions | undefined,
  ) {}

  /** @throws MarlineError `METHOD_NOT_ALLOWED` where models may not be registered and unregistered */
  assertModelApi(): void {
    if (this.options?.enableModelApi === false) throw new MarlineError('METHOD_NOT_ALLOWED');
  }

  /**
   * Registers a model of the model store; synchronous unless told otherwise. With `replace=true` it takes the place of the
   * default version of its name.
   */
  async register(source: ParameterSource): Promise<Outcome> {
    this.assertModelApi();
    const parameters = readParameters(RegisterModelDto, source);
    if (parameters.replace) return this.#replace(parameters);
    const { name, version, settings } = await this.registry.register(parameters);
    const registered = `Model "${name}" Version: ${version} registered with ${settings.minWorkers} initial workers`;
    if (settings.minWorkers === 0)
      return done(`${registered}. Use scale workers API to add workers for the model.`);
    return parameters.synchronous ? done(registered) : IN_PROGRESS;
  }

  /** Ours: what a registration with the same parameters would do. Nothing is registered. */
  plan(source: ParameterSource): ReturnType<ModelRegistry['plan']> {
    this.assertModelApi();
    return this.registry.plan(readParameters(RegisterModelDto, source));
  }

  /** The default versions by name, a page at a time. */
  list(source: ParameterSource): ModelPage {
    const { limit = MAX_PAGE, nextPageToken = 0 } = readParameters(ListModelsDto, source);
    const count = limit < 0 || limit > MAX_PAGE ? MAX_PAGE : limit;
    const start = Math.max(0, nextPageToken);
    const names = this.registry.names();
    return {
      nextPageToken: start + count <= names.length ? String(start + count) : undefined,
      models: names
        .slice(start, start + count)
        .map((modelName) => ({ modelName, modelUrl: this.registry.get(modelName).archive.url })),
    };
  }

  /**
   * One version, or (`all`) every one; with `customized` also what the handler says of its model.
   * @param version the default one when not given
   * @param rawHeaders of whoever wants to know, for the handler: names and values in turn
   */
  async describe(
    model: string,
    version: string | undefined,
    source: ParameterSource,
    rawHeaders: readonly string[],
  ): Promise<{ readonly versions: readonly ModelDescription[]; readonly customized: boolean }> {
    const { customized } = readParameters(DescribeModelDto, source);
    if (version === 'all')
      return {
        versions: this.registry.versions(model).map((each) => this.#describe(each)),
        customized: false,
      };
    const runtime = this.registry.get(model, version);
    if (!customized) return { versions: [this.#describe(runtime)], customized };
    const customizedMetadata = withoutNulls(await runtime.describe(rawHeaders));
    return { versions: [{ ...this.#describe(runtime), customizedMetadata }], customized };
  }

  /** Changes the number of workers; not synchronous unless told so. */
  async scale(model: string, version: string | undefined, source: ParameterSource): Promise<Outcome> {
    const {
      minWorker = 1,
      maxWorker = minWorker,
      modelVersion,
      synchronous,
    } = readParameters(ScaleModelDto, source);
    if (minWorker < 0) throw new MarlineError('BAD_REQUEST', { reason: 'min_worker cannot be negative.' });
    const scaled = version ?? modelVersion;
    await this.registry
      .scale(model, scaled, minWorker, maxWorker, { synchronous })
      .catch((error: unknown) => {
        throw withCallersVersion(error, scaled);
      });
    if (!synchronous) return IN_PROGRESS;
    return done(
      `Workers scaled to ${minWorker} for model: ${model}${scaled === undefined ? '' : `, version: ${scaled}`}`,
    );
  }

  /** Makes a version the one that answers when no version is asked for. */
  setDefault(model: string, version: string): Outcome {
    try {
      this.registry.setDefault(model, version);
    } catch (error) {
      if (!isMarlineError(error) || error.code !== 'MODEL_VERSION_NOT_FOUND') throw error;
      // TorchServe has other words for this here than everywhere else.
      const reason = `Model version ${version} does not exist for model ${model}`;
      throw new MarlineError(error.code, { ...error.details, reason }, { cause: error });
    }
    return done(`Default version successfully updated for model "${model}" to "${version}"`);
  }

  /** Ours: the weights by which the requests of a model that name no version are split; none while they are not. */
  traffic(model: string): TrafficWeights {
    return this.registry.traffic(model) ?? {};
  }

  /** Ours: splits them. A version that could answer none of its share is refused. @param weights by version */
  splitTraffic(model: string, weights: unknown): Outcome {
    const served = this.registry.versions(model);
    const split = readParameters(TrafficDto, { kind: 'json', body: { weights } });
    for (const { version, canAnswer } of served)
      if ((split.of(version) ?? 0) > 0 && !canAnswer) throw withoutWorkers(model, version);
    this.registry.setTraffic(model, split.weights);
    return done(`Requests for model "${model}" are split: ${split.inWords()}`);
  }

  /** Ours: the default version gets them all again. */
  endSplit(model: string): Outcome {
    this.registry.setTraffic(model, undefined);
    const version = this.registry.defaultVersion(model);
    return done(`Requests for model "${model}" go to its default version "${version}"`);
  }

  /**
   * Takes a version out of service after it answered what it accepted.
   * @param version the default one when not given
   */
  async unregister(model: string, version: string | undefined): Promise<Outcome> {
    this.assertModelApi();
    await this.registry.unregister(model, version);
    return done(`Model "${model}" unregistered`);
  }

  #describe(runtime: ModelRuntime): ModelDescription {
    const { name } = runtime;
    return describeModel(runtime, this.registry.startupModels.has(name), this.registry.traffic(name));
  }

  async #replace(parameters: RegisterModelDto): Promise<Outcome> {
    const { runtime, replaced } = await this.registry.replace(parameters);
    if (!parameters.synchronous) return IN_PROGRESS;
    const { name, version } = runtime;
    const workers = runtime.status().readyWorkers;
    const of = replaced === undefined ? '' : ` in the place of version ${replaced}`;
    return done(`Model "${name}" Version: ${version} serves with ${workers} workers${of}`);
  }
}

function done(text: string): Outcome {
  return { text, done: true };
}

function withoutWorkers(model: string, version: string): MarlineError {
  const reason = `Version ${version} of model ${model} has no workers. Give it some first (PUT /models/${model}/${version}?min_worker=1&synchronous=true), or the weight 0.`;
  return new MarlineError('BAD_REQUEST', { reason });
}

/** TorchServe's front end writes no fields that are null. */
function withoutNulls(value: object): object {
  return JSON.parse(JSON.stringify(value), (_name, field: unknown) =>
    typeof field === 'object' && field !== null && !Array.isArray(field)
      ? Object.fromEntries(Object.entries(field).filter(([, inner]) => inner !== null))
      : field,
  ) as object;
}

/** As TorchServe, an error of workers names the version that the caller named, or `null`. */
function withCallersVersion(error: unknown, version: string | undefined): unknown {
  if (!isMarlineError(error) || error.code !== 'WORKERS_NOT_STARTED') return error;
  return new MarlineError(error.code, { ...error.details, version: version ?? null }, { cause: error.cause });
}
