/** Where the mark lies on a handler class: a registered symbol, so that two copies of this package agree. */
const MARK = Symbol.for('marline.model-handler');

/**
 * How a handler class is offered.
 * @publicApi
 */
export type ModelHandlerOptions =
  | {
      /** The name that an archive's manifest, or a registration, gives as its handler. */
      readonly name: string;
      /** On the main thread (default), with the host application's providers injected. */
      readonly runs?: 'host';
    }
  | {
      readonly name: string;
      /** In every worker of the model, next to its session; nothing is injected there. */
      readonly runs: 'worker';
      /** `import.meta.url` of the file that exports the class: the worker imports it, so it should import little itself. */
      readonly module: string;
    };

/** What a marked class says of itself, as found at run time: `module` may be missing where types were not checked. */
export interface ModelHandlerMark {
  readonly name: string;
  readonly runs: 'host' | 'worker';
  readonly module?: string;
}

/**
 * Offers a class that extends `BaseHandler` under a name. List it among the providers of a module: then models whose
 * archive names it as their handler are served with it, one new instance per model version.
 *
 * @example
 * ```ts
 * @ModelHandler('fraud_handler')
 * export class FraudHandler extends BaseHandler<Order, Risk> {
 *   constructor(private readonly features: FeatureService) { super(); }
 * }
 * ```
 * @publicApi
 */
export function ModelHandler(options: string | ModelHandlerOptions): ClassDecorator {
  const mark: ModelHandlerMark =
    typeof options === 'string' ? { name: options, runs: 'host' } : { runs: 'host', ...options };
  return (target) => {
    Object.defineProperty(target, MARK, { value: mark });
  };
}

/** The mark of a class itself; a subclass does not inherit it. */
export function handlerMarkOf(target: unknown): ModelHandlerMark | undefined {
  if (typeof target !== 'function' || !Object.hasOwn(target, MARK)) return undefined;
  return (target as { [MARK]?: ModelHandlerMark })[MARK];
}
