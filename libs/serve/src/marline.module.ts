import {
  ConfigurableModuleBuilder,
  Logger,
  Module,
  type DynamicModule,
  type NestModule,
  type Provider,
} from '@nestjs/common';
import { HttpAdapterHost, RouterModule } from '@nestjs/core';
import { ArchiveModule } from '#libs/archive';
import { MarlineError } from '#libs/common';
import {
  InferenceModule,
  ModelRegistry,
  ServedModel,
  getModelToken,
  installRawBody,
  type InferenceOptions,
} from '#libs/inference';
import { ManagementModule } from '#libs/management';
import { AccessModule } from './access.module.js';
import { describeOptions, effectiveOptions, unknownKeys } from './effective-options.js';
import { HealthModule } from './health/health.module.js';
import { MetricsModule, ServerMetricsModule } from './metrics/metrics.module.js';
import { ServerMetrics } from './metrics/server-metrics.js';
import {
  MarlineOptions,
  SHAPE_KEYS,
  type MarlineModuleOptions,
  type MarlineModuleShape,
} from './marline.options.js';
import { OipModule } from './oip/oip.module.js';

const ASYNC_KEYS = ['inject', 'useFactory', 'useClass', 'useExisting', 'provideInjectionTokensFrom'];

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, ASYNC_OPTIONS_TYPE, OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<MarlineModuleOptions>({ moduleName: 'Marline' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createMarlineOptions')
    .setExtras<MarlineModuleShape>(
      { mount: '', management: false, metrics: false, guards: [], imports: [] },
      compose,
    )
    .build();

/** The checked options, for the modules that are built from slices of them. */
@Module({})
class OptionsModule {}

/** Where `forFeature` provides models. */
@Module({})
class ServedModelsModule {}

/**
 * Serves models inline in a NestJS application on Fastify. Import it once with `forRoot` or `forRootAsync`; then models can
 * be injected and asked anywhere. Nothing of the application changes: no global pipe, guard, filter or prefix.
 *
 * @example
 * imports: [
 *   MarlineModule.forRoot({ mount: 'ml', modelStore: 'models', loadModels: ['fraud.mar'] }),
 *   MarlineModule.forFeature(['fraud']),
 * ]
 * @publicApi
 */
@Module({})
export class MarlineModule extends ConfigurableModuleClass implements NestModule {
  constructor(private readonly host: HttpAdapterHost) {
    super();
  }

  /**
   * Options that are known now; see {@link MarlineOptions} and {@link MarlineModuleShape}.
   * @throws MarlineError `OPTIONS_INVALID`, when the application starts
   */
  static override forRoot(options: typeof OPTIONS_TYPE): DynamicModule {
    return super.forRoot(options);
  }

  /**
   * Options that come later, from a factory, a class or a provider; the shape of the modules stands beside it.
   * @throws MarlineError `OPTIONS_INVALID` here for the shape, when the application starts for the values
   */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    const names = Object.keys(new MarlineOptions());
    const problems = Object.keys(options).flatMap((key) =>
      names.includes(key)
        ? [`${key} is a value: return it from the factory of forRootAsync.`]
        : unknownKeys({ [key]: 0 }, [...SHAPE_KEYS, ...ASYNC_KEYS]),
    );
    if (problems.length > 0)
      throw new MarlineError('OPTIONS_INVALID', { reason: `Marline's options: ${problems.join(' ')}` });
    return super.forRootAsync(options);
  }

  /** Provides a {@link ServedModel} for `@InjectModel(name)` for each of these models, in the modules that import this. */
  static forFeature(models: readonly string[]): DynamicModule {
    const providers: Provider[] = models.map((name) => ({
      provide: getModelToken(name),
      useFactory: (registry: ModelRegistry) => new ServedModel(name, registry),
      inject: [ModelRegistry],
    }));
    return { module: ServedModelsModule, providers, exports: providers };
  }

  configure(): void {
    installRawBody(this.host.httpAdapter);
  }
}

function compose(
  definition: DynamicModule,
  { mount = '', management = false, metrics: mounted = false, guards = [], imports = [] }: MarlineModuleShape,
): DynamicModule {
  const all = [...(definition.imports ?? []), ...imports];
  const options: DynamicModule = {
    module: OptionsModule,
    imports: all,
    providers: [
      ...(definition.providers ?? []),
      { provide: MarlineOptions, useFactory: checkOptions, inject: [MODULE_OPTIONS_TOKEN] },
    ],
    exports: [MarlineOptions],
  };
  const from = <Slice>(useFactory: (values: MarlineOptions) => Slice) => ({
    imports: [options],
    inject: [MarlineOptions],
    useFactory,
  });
  const archive = ArchiveModule.registerAsync(
    from(({ modelStore, cacheDir, allowedUrls }) => ({ modelStore, cacheDir, allowedUrls })),
  );
  const metrics = ServerMetricsModule.of(options, { mounted });
  const inference = InferenceModule.registerAsync({
    imports: [options, archive, metrics],
    inject: [MarlineOptions, ServerMetrics],
    useFactory: (values: InferenceOptions, meters: ServerMetrics | undefined) => ({
      ...values,
      observer: meters?.observer(values.observer) ?? values.observer,
    }),
  });
  const doors = [
    // Global, so that any module of the application can inject the registry, and @Infer finds it.
    { ...inference, global: true },
    { module: HealthModule, global: true },
    { module: OipModule },
    MetricsModule.of(metrics, { mounted }),
    ...(management
      ? [
          // Global, so that doors outside of this module find its operations.
          {
            ...ManagementModule.registerAsync(from(({ enableModelApi }) => ({ enableModelApi }))),
            global: true,
          },
        ]
      : []),
  ];
  const routes =
    mount === '' ? [] : [RouterModule.register(doors.map(({ module }) => ({ path: mount, module })))];
  return { module: definition.module, imports: [AccessModule.of(guards, all), ...doors, ...routes] };
}

function checkOptions(given: MarlineModuleOptions): MarlineOptions {
  const options = effectiveOptions(given, process.env);
  new Logger('Marline').log(describeOptions(options));
  return options.values;
}
