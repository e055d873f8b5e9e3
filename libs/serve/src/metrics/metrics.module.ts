import {
  Inject,
  Logger,
  Module,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { FastifyInstance } from 'fastify';
import { ModelRegistry, tellAnswers } from '#libs/inference';
import { MarlineOptions } from '../marline.options.js';
import { MetricsController } from './metrics.controller.js';
import { ServerMetrics } from './server-metrics.js';

/** Whom the metrics are kept for; without anybody there are none, and requests cost nothing more. */
export interface MetricsAudience {
  /** True when there is a route that shows them. */
  readonly mounted: boolean;
}

/**
 * The metrics themselves, apart from their route because the models tell them and the route asks the models.
 * `ServerMetrics` is provided as `undefined` when nobody would read them.
 */
@Module({})
export class ServerMetricsModule {
  static of(options: DynamicModule, { mounted }: MetricsAudience): DynamicModule {
    return {
      module: ServerMetricsModule,
      imports: [options],
      providers: [
        {
          provide: ServerMetrics,
          inject: [MarlineOptions],
          useFactory: (values: MarlineOptions) =>
            mounted || values.metricsRegistry !== undefined || values.metricsMode !== 'prometheus'
              ? new ServerMetrics(values, {
                  server: new Logger('TS_METRICS'),
                  model: new Logger('MODEL_METRICS'),
                  own: new Logger('Marline'),
                })
              : undefined,
        },
      ],
      exports: [ServerMetrics],
    };
  }
}

/** `/metrics`, and the life of what it shows. */
@Module({})
export class MetricsModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    @Inject(ServerMetrics) private readonly metrics: ServerMetrics | undefined,
    private readonly models: ModelRegistry,
    private readonly host: HttpAdapterHost,
  ) {}

  static of(metrics: DynamicModule, { mounted }: MetricsAudience): DynamicModule {
    return {
      module: MetricsModule,
      imports: [metrics],
      controllers: mounted ? [MetricsController] : [],
    };
  }

  configure(): void {
    const adapter = this.host.httpAdapter as HttpAdapterHost['httpAdapter'] | undefined;
    if (this.metrics === undefined || adapter === undefined) return;
    tellAnswers(adapter.getInstance<FastifyInstance>(), this.metrics.answerCounter());
  }

  onApplicationBootstrap(): void {
    this.metrics?.start(this.models);
  }

  onApplicationShutdown(): void {
    this.metrics?.close();
  }
}
