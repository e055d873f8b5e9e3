/** The gateway of infer.ts, a child of it: one route without and one with `@Infer`, otherwise the same. */
import 'reflect-metadata';
import { Body, Controller, HttpCode, Module, Post, Req } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Infer, MarlineModule, tensor, type Tensors } from '#libs/serve';
import { obey } from './suite/commands.js';

/** How the gateway is started. */
export interface InferGatewayOptions {
  readonly modelStore: string;
  readonly cacheDir: string;
}

const options = JSON.parse(process.argv[2] ?? '') as InferGatewayOptions;

interface Order {
  readonly amounts: readonly number[];
}

const features = (request: { body: Order }): Tensors => ({
  input: tensor('float32', Float32Array.from(request.body.amounts), [1, 128]),
});

@Controller('orders')
class OrdersController {
  @Post('plain')
  @HttpCode(200)
  plain(@Body() order: Order): { amounts: number } {
    return { amounts: order.amounts.length };
  }

  @Post('scored')
  @HttpCode(200)
  @Infer('mlp', { input: features, attach: 'score', budgetMs: 1000, onFailure: 'closed' })
  scored(@Body() order: Order, @Req() request: { score?: unknown }): { amounts: number; scored: boolean } {
    return { amounts: order.amounts.length, scored: request.score !== undefined };
  }
}

@Module({
  imports: [
    MarlineModule.forRoot({ ...options, mount: 'ml', loadModels: ['mlp.mar'], defaultWorkersPerModel: 1 }),
  ],
  controllers: [OrdersController],
})
class GatewayModule {}

const app = await NestFactory.create<NestFastifyApplication>(GatewayModule, new FastifyAdapter(), {
  logger: ['error', 'warn'],
});
await app.listen(0, '127.0.0.1');
obey({ url: await app.getUrl() }, {}, () => app.close());
