import { Body, Controller, Get, HttpCode, Module, Post, Query } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Infer, Inferred, InjectModel, MarlineModule, ServedModel, type Inference } from '#libs/serve';
import { FeatureService, FraudHandler, type Order, type Risk } from './fraud.handler.js';

const orderOf = (request: FastifyRequest<{ Body: Order }>) => request.body;
const isFraud = (risk: Risk) => risk.score > 0.9;

/** The gateway's new routes. */
@Controller('orders')
export class OrdersController {
  private readonly taken: Order[] = [];

  constructor(@InjectModel('fraud') private readonly fraud: ServedModel<Order, Risk>) {}

  @Get()
  list(): readonly Order[] {
    return this.taken;
  }

  /** Asks the model like any other service. */
  @Post('score')
  @HttpCode(200)
  score(@Body() order: Order, @Query('version') version?: string): Promise<Risk> {
    return this.fraud.predict(order, { version, deadlineMs: 500 });
  }

  /** An order is taken with its score when there is one in time, and refused when it is a fraud for sure. */
  @Post()
  @Infer('fraud', { input: orderOf, attach: 'risk', budgetMs: 500, onFailure: 'open', refuseIf: isFraud })
  create(@Body() order: Order, @Inferred('risk') risk: Inference<Risk>) {
    this.taken.push(order);
    return { taken: order.amount, score: risk.answer?.score, unchecked: risk.failure?.code };
  }

  /** No refund without a check. */
  @Post('refund')
  @Infer('fraud', { input: orderOf, budgetMs: 500, onFailure: 'closed', refuseIf: isFraud })
  refund(@Body() order: Order) {
    return { refunded: order.amount };
  }

  /** Checked by a model that nobody has loaded yet. */
  @Post('draft')
  @Infer('draft', { input: orderOf, attach: 'draft', budgetMs: 500, onFailure: 'open' })
  draft(@Inferred('draft') draft: Inference<unknown>) {
    return { unchecked: draft.failure?.code };
  }
}

@Module({
  imports: [MarlineModule.forFeature(['fraud'])],
  providers: [FeatureService, FraudHandler],
  controllers: [OrdersController],
})
export class OrdersModule {}
