import { once } from 'node:events';
import { Module, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterEach, expect, it } from 'vitest';
import type { ItemResult } from '#libs/common';
import { GrpcServer, MarlineGrpcModule } from '#libs/grpc';
import { ModelRegistry } from '#libs/inference';
import { MarlineHealthIndicator } from '#libs/serve';
import { GrpcClient, ended } from '../support/grpc-client.js';
import { inferenceCall, prediction } from './open-grpc.js';

const PARTS = 2000;
const PART_BYTES = 64 * 1024;
/** What streams hold on both sides, generously. */
const BUFFERED_PARTS = 200;

const part = (): ItemResult => ({
  status: 200,
  reason: '',
  headers: [],
  output: { kind: 'bytes', bytes: new Uint8Array(PART_BYTES), encoding: 'binary' },
});

/** A model that streams as fast as it is read. */
class Fountain {
  made = 0;
  left = false;

  async *parts(): AsyncGenerator<ItemResult> {
    try {
      for (; this.made < PARTS; this.made++) yield await Promise.resolve(part());
    } finally {
      this.left = true;
    }
  }

  get registry(): object {
    const predict = () => Promise.resolve({ streaming: true, first: part(), rest: this.parts() });
    return {
      healthy: true,
      isSplit: () => false,
      route: () => ({ settings: { clientTimeoutInMills: 0 }, predict }),
    };
  }
}

@Module({})
class StreamingModule {}

let app: INestMicroservice;
let client: GrpcClient;
afterEach(async () => {
  client.close();
  await app.close();
});

async function open(fountain: Fountain): Promise<void> {
  @Module({
    providers: [
      { provide: ModelRegistry, useValue: fountain.registry },
      { provide: MarlineHealthIndicator, useValue: {} },
    ],
    exports: [ModelRegistry, MarlineHealthIndicator],
  })
  class FakesModule {}
  const strategy = new GrpcServer('inference', { url: '127.0.0.1:0' });
  const module = {
    module: StreamingModule,
    imports: [{ module: FakesModule, global: true }, MarlineGrpcModule.forRoot()],
  };
  app = await NestFactory.createMicroservice(module, { strategy, logger: false });
  await app.listen();
  client = new GrpcClient(strategy.port ?? 0, 0);
}

/** A call that has a part of the answer and reads no more. */
async function readingFrom(fountain: Fountain) {
  await open(fountain);
  const call = client.open(inferenceCall('StreamPredictions'));
  call.write(prediction('m', ''));
  call.end();
  await once(call, 'readable');
  return call;
}

async function roundTrips(count: number): Promise<void> {
  for (let trip = 0; trip < count; trip++) await client.call(inferenceCall('Ping', {}));
}

it('a slow reader slows its producer, and gets everything', async () => {
  const fountain = new Fountain();
  const call = await readingFrom(fountain);
  await roundTrips(200);
  expect(fountain.made).toBeLessThan(BUFFERED_PARTS);
  let received = 0;
  call.on('data', () => received++);
  await ended(call);
  expect(received).toBe(PARTS + 1);
});

it('a reader that leaves ends its producer', async () => {
  const fountain = new Fountain();
  const call = await readingFrom(fountain);
  const over = ended(call);
  call.cancel();
  await over;
  while (!fountain.left) await roundTrips(1);
  expect(fountain.made).toBeLessThan(PARTS);
});
