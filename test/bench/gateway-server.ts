/**
 * A gateway with Marline, a route of its own (`/hello`) and, when asked for, `session.run()` in a controller as a first attempt
 * would write it. A child of the benchmarks, which tell it what to do.
 */
import 'reflect-metadata';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Controller, Get, HttpCode, Module, Post, Req, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import sharp from 'sharp';
import {
  InferenceObserver,
  MarlineModule,
  ModelRegistry,
  tensor,
  type HandlerMetric,
  type ModelRef,
} from '#libs/serve';
import { obey } from './suite/commands.js';

/** How the gateway is started. */
export interface GatewayOptions {
  readonly modelStore: string;
  readonly cacheDir: string;
  readonly loadModels: readonly string[];
  /** Instead of Marline: the file of a model for `session.run()` in a controller, in one thread or with ONNX Runtime's defaults. */
  readonly naive?: { readonly file: string; readonly threads: 'one' | 'default' };
}

/** What the gateway counted since its start. */
export interface Counts {
  readonly queued: number;
  readonly finished: number;
  readonly failed: number;
  /** Runs that ended when their caller was gone. */
  readonly wasted: number;
  /** Sum of the handler metric `Runs`. */
  readonly runs: number;
}

/** Percentiles of the event loop's delay, in milliseconds. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
}

/** What the process holds. */
export interface Holdings {
  readonly heapMb: number;
  /** What keeps the event loop alive, as Node.js counts it. */
  readonly resources: number;
}

const { naive, ...marline } = JSON.parse(process.argv[2] ?? '') as GatewayOptions;
const counts = { queued: 0, finished: 0, failed: 0, wasted: 0, runs: 0 };

class CountingObserver extends InferenceObserver {
  override requestQueued(): void {
    counts.queued++;
  }
  override requestFinished(): void {
    counts.finished++;
  }
  override requestFailed(): void {
    counts.failed++;
  }
  override runWasted(): void {
    counts.wasted++;
  }
  override handlerMetric(_ref: ModelRef, { name, value }: HandlerMetric): void {
    if (name === 'Runs') counts.runs += value;
  }
}

@Controller('hello')
class HelloController {
  @Get()
  hello(): { hello: string } {
    return { hello: 'world' };
  }
}

const oneThread = { intraOpNumThreads: 1, interOpNumThreads: 1 };
const session =
  naive && (await InferenceSession.create(naive.file, naive.threads === 'one' ? oneThread : {}));

@Controller('naive')
class NaiveController {
  @Post()
  @HttpCode(200)
  async predict(@Req() request: { body: Buffer }): Promise<number[]> {
    const pixels = await sharp(request.body)
      .resize(224, 224, { fit: 'cover' })
      .removeAlpha()
      .raw()
      .toBuffer();
    const input = new Float32Array(3 * 224 * 224);
    for (let channel = 0; channel < 3; channel++) {
      for (let at = 0; at < 224 * 224; at++)
        input[channel * 224 * 224 + at] = (pixels[at * 3 + channel] ?? 0) / 255;
    }
    const outputs = await session?.run({ input: new Tensor('float32', input, [1, 3, 224, 224]) });
    return Array.from(outputs?.['scores']?.data as Float32Array);
  }
}

const imports: DynamicModule[] = naive
  ? []
  : [
      MarlineModule.forRoot({
        ...marline,
        mount: 'ml',
        management: true,
        defaultWorkersPerModel: 2,
        observer: new CountingObserver(),
      }),
    ];

@Module({ imports, controllers: [HelloController, NaiveController] })
class GatewayModule {}

const app = await NestFactory.create<NestFastifyApplication>(GatewayModule, new FastifyAdapter(), {
  logger: ['error', 'warn'],
});
app
  .getHttpAdapter()
  .getInstance()
  .addContentTypeParser('image/jpeg', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
await app.listen(0, '127.0.0.1');

let delay = monitorEventLoopDelay({ resolution: 1 });

obey(
  { url: await app.getUrl() },
  {
    watchLoop: () => {
      delay = monitorEventLoopDelay({ resolution: 1 });
      delay.enable();
    },
    readLoop: (): LoopDelay => {
      delay.disable();
      return { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6 };
    },
    counts: (): Counts => counts,
    predict,
    holdings: async (): Promise<Holdings> => {
      // Twice: what the first collection finds to be finalised, the second frees.
      for (let times = 0; times < 2; times++) {
        global.gc?.();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return {
        heapMb: process.memoryUsage().heapUsed / 2 ** 20,
        resources: process.getActiveResourcesInfo().length,
      };
    },
  },
  () => app.close(),
);

/** Calls of the MLP in process, `concurrency` at a time. @returns how many were not answered */
async function predict({ count, concurrency }: { count: number; concurrency: number }): Promise<number> {
  const registry = app.get(ModelRegistry);
  let left = count;
  let failed = 0;
  const caller = async (name: string) => {
    while (left-- > 0) {
      const tensors = { input: tensor('float32', new Float32Array(128).fill(left % 7), [1, 128]) };
      const id = `${name}-${left}`;
      await registry
        .get('mlp')
        .predict({ id, input: { kind: 'tensors', tensors } })
        .catch(() => failed++);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, (_, index) => caller(`caller-${index}`)));
  return failed;
}
