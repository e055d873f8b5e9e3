import { Injectable } from '@nestjs/common';
import {
  BaseHandler,
  MarlineError,
  ModelHandler,
  tensor,
  type RequestsContext,
  type Tensors,
} from '#libs/serve';

export interface Order {
  readonly customer: string;
  readonly amount: number;
}

/** How likely an order is a fraud, from 0 to 1, and which version of the model says so. */
export interface Risk {
  readonly score: number;
  readonly version: string;
}

/** What the gateway knows about customers: in a real one a repository. */
@Injectable()
export class FeatureService {
  private readonly orders = new Map([['regular', 8]]);

  async ordersOf(customer: string): Promise<number> {
    // A data base that never answers, for the tests.
    if (customer === 'stuck') await new Promise(() => {});
    return this.orders.get(customer) ?? 0;
  }
}

/** The handler that the fraud archives name: runs here, next to the gateway's services; only tensors go to the worker. */
@ModelHandler('fraud_handler')
export class FraudHandler extends BaseHandler<Order, Risk> {
  constructor(private readonly features: FeatureService) {
    super();
  }

  override async preprocess(order: Order): Promise<Tensors> {
    if (typeof order.amount !== 'number')
      throw new MarlineError('INVALID_INPUT', { reason: 'An order needs an amount.' });
    const orders = await this.features.ordersOf(order.customer);
    return { features: tensor('float32', Float32Array.of(order.amount, orders), [1, 2]) };
  }

  override postprocess(outputs: Tensors, context: RequestsContext): Risk {
    return { score: Number(outputs['score']?.data[0]), version: context.modelVersion };
  }
}
