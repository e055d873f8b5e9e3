import { Controller, Get, Param, Res, ServiceUnavailableException } from '@nestjs/common';
import {
  HealthCheck,
  HealthCheckService,
  type HealthCheckResult,
  type HealthIndicatorResult,
} from '@nestjs/terminus';
import { Documented, TorchServeRoutes } from '#libs/inference';
import * as docs from './health-docs.js';
import { MarlineHealthIndicator } from './health.indicator.js';

/** Terminus would load `@nestjs/swagger` wherever it is installed, and say less. */
const CHECK = { noCache: true, swaggerDocumentation: false };

interface Reply {
  status(code: number): unknown;
}

/**
 * Live, ready, and one indicator per model, in terminus' shape. The configured guards protect these routes too, since they
 * name the models: give probes that bring no credentials a route of the application with {@link MarlineHealthIndicator}.
 */
@Controller('health')
@TorchServeRoutes('inference')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicator: MarlineHealthIndicator,
  ) {}

  /** 200 as long as the process answers, also while it drains: restarting it would lose what it still has to answer. */
  @Documented(docs.LIVE)
  @Get('live')
  @HealthCheck(CHECK)
  live(): HealthCheckResult {
    return { status: 'ok', info: {}, error: {}, details: {} };
  }

  /** 200 when every model that counts is ready and the application is not stopping, else 503; the state of each model. */
  @Documented(docs.READY)
  @Get('ready')
  @HealthCheck(CHECK)
  ready(@Res({ passthrough: true }) reply: Reply): Promise<HealthCheckResult> {
    return this.answer(reply, [this.indicator.serving(), ...this.indicator.models()]);
  }

  /** 200 when the model's default version is ready, 503 when it is not, 404 when there is no such model. */
  @Documented(docs.MODEL)
  @Get('models/:model')
  @HealthCheck(CHECK)
  model(@Param('model') model: string, @Res({ passthrough: true }) reply: Reply): Promise<HealthCheckResult> {
    return this.answer(reply, [this.indicator.model(model)]);
  }

  // Answered here, not thrown: a probe reads terminus' shape, whatever the host's exception filters make of exceptions.
  private async answer(reply: Reply, results: readonly HealthIndicatorResult[]): Promise<HealthCheckResult> {
    try {
      return await this.health.check(results.map((result) => () => result));
    } catch (error) {
      if (!(error instanceof ServiceUnavailableException)) throw error;
      reply.status(error.getStatus());
      return error.getResponse() as HealthCheckResult;
    }
  }
}
