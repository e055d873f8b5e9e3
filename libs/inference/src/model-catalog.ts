import { MarlineError } from '#libs/common';
import type { ModelRuntime } from './model-runtime.js';
import { Traffic, type SequenceHint } from './traffic.js';
import type { TrafficWeights } from './traffic-split.js';

interface ModelVersions {
  defaultVersion: string;
  /** In order of registration. */
  readonly versions: Map<string, ModelRuntime>;
}

/** The versions that are there, name → versions → default, and which of them answers a request. */
export class ModelCatalog {
  readonly #models = new Map<string, ModelVersions>();
  readonly #listeners: (() => void)[] = [];
  readonly #traffic: Traffic;

  constructor(sequenceIdHeader: string) {
    this.#traffic = new Traffic(sequenceIdHeader);
  }

  /** False while the default version of some model has given up on its workers; models without workers, and workers that are starting, are healthy. */
  get healthy(): boolean {
    return this.names().every((name) => this.get(name).status().status !== 'failed');
  }

  /** @throws MarlineError `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND` */
  get(name: string, version?: string): ModelRuntime {
    const model = this.#model(name);
    const runtime = model.versions.get(version ?? model.defaultVersion);
    if (runtime === undefined) throw new MarlineError('MODEL_VERSION_NOT_FOUND', { model: name, version });
    return runtime;
  }

  /**
   * The version that answers a request: the one that it names, else the one whose turn it is where the requests of the model
   * are split, else the default one.
   * @param sequence what tells the request's sequence, where its model may have some
   * @param drawn what it gave for the same request before
   * @throws MarlineError `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND`
   */
  route(name: string, version?: string, sequence?: SequenceHint, drawn?: ModelRuntime): ModelRuntime {
    if (version !== undefined || !this.isSplit(name)) return this.get(name, version);
    return this.#traffic.next(name, this.#model(name).versions, sequence, drawn) ?? this.get(name);
  }

  /** True where the requests that name no version are split between versions. */
  isSplit(name: string): boolean {
    return this.#traffic.isSplit(name);
  }

  /** The weights by which the requests that name no version are split; `undefined` when the default version gets all. @throws MarlineError `MODEL_NOT_FOUND` */
  traffic(name: string): TrafficWeights | undefined {
    this.#model(name);
    return this.#traffic.of(name);
  }

  /**
   * Splits the requests that name no version between versions, exactly by their weights. A version that cannot answer is passed over; one
   * with the weight 0 gets none but those of sequences that it knows.
   * @param weights `undefined` gives all requests to the default version again
   * @throws MarlineError `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND`, `BAD_REQUEST`
   */
  setTraffic(name: string, weights: TrafficWeights | undefined): void {
    this.#traffic.set(name, weights, this.#model(name).versions);
    this.changed();
  }

  /** Names of all models, sorted. */
  names(): string[] {
    return [...this.#models.keys()].toSorted();
  }

  /** All versions of a model in order of registration. @throws MarlineError `MODEL_NOT_FOUND` */
  versions(name: string): ModelRuntime[] {
    return [...this.#model(name).versions.values()];
  }

  all(): ModelRuntime[] {
    return [...this.#models.values()].flatMap(({ versions }) => [...versions.values()]);
  }

  /** @throws MarlineError `MODEL_NOT_FOUND` */
  defaultVersion(name: string): string {
    return this.#model(name).defaultVersion;
  }

  /** @throws MarlineError `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND` */
  setDefault(name: string, version: string): void {
    this.#model(name).defaultVersion = this.get(name, version).version;
    this.changed();
  }

  /** Calls `listener` after each change of what is served: a version more or less, another default or split, other numbers of workers. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  protected has(name: string, version: string): boolean {
    return this.#models.get(name)?.versions.has(version) === true;
  }

  /** The first version of a name becomes its default. */
  protected add(runtime: ModelRuntime): void {
    const { name, version } = runtime;
    const model = this.#models.get(name);
    if (model === undefined)
      this.#models.set(name, { defaultVersion: version, versions: new Map([[version, runtime]]) });
    else model.versions.set(version, runtime);
  }

  /** Makes `version` the default, with the weight of `old` in a split. */
  protected putInPlace(name: string, old: string, version: string): void {
    this.#traffic.replace(name, old, version);
    this.setDefault(name, version);
  }

  /** @throws MarlineError while other versions exist `DEFAULT_VERSION_IN_USE`, and `VERSION_TAKES_TRAFFIC` for one with a weight in a split */
  protected assertFree({ name, version }: ModelRuntime): void {
    const model = this.#model(name);
    if (model.versions.size === 1) return;
    if (version === model.defaultVersion) throw new MarlineError('DEFAULT_VERSION_IN_USE', { model: name });
    this.#traffic.assertFree(name, version);
  }

  protected forget({ name, version }: ModelRuntime): void {
    this.#traffic.forget(name, version);
    const model = this.#models.get(name);
    model?.versions.delete(version);
    if (model?.versions.size === 0) this.#models.delete(name);
  }

  protected changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #model(name: string): ModelVersions {
    const model = this.#models.get(name);
    if (model === undefined) throw new MarlineError('MODEL_NOT_FOUND', { model: name });
    return model;
  }
}
