/**
 * The gateway of gateway.ts, in a process of its own. `marline` mounts the plugin; `naive` calls `session.run()` in a
 * controller, with ONNX Runtime's defaults (`naive`) or one thread (`naive-1`), as a first attempt would.
 */
import 'reflect-metadata';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Controller, Get, HttpCode, Module, Post, Req, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import sharp from 'sharp';
import { MarlineModule } from '#libs/serve';

const [mode = 'marline', modelStore = '', modelFile = ''] = process.argv.slice(2);

@Controller('hello')
class HelloController {
  @Get()
  hello(): { hello: string } {
    return { hello: 'world' };
  }
}

const naiveSession =
  mode === 'naive' || mode === 'naive-1'
    ? await InferenceSession.create(
        modelFile,
        mode === 'naive-1' ? { intraOpNumThreads: 1, interOpNumThreads: 1 } : {},
      )
    : undefined;

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
    const outputs = await naiveSession?.run({ input: new Tensor('float32', input, [1, 3, 224, 224]) });
    return Array.from(outputs?.['scores']?.data as Float32Array);
  }
}

const imports: DynamicModule[] = [];
if (mode === 'marline') {
  imports.push(
    MarlineModule.forRoot({
      mount: 'ml',
      modelStore,
      loadModels: ['cnn.mar'],
      defaultWorkersPerModel: 2,
    }),
  );
}

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

const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
process.on('message', (message) => {
  if (message === 'reset') delay.reset();
  if (message === 'read') {
    const ms = (ns: number) => ns / 1e6;
    process.send?.({
      p50: ms(delay.percentile(50)),
      p99: ms(delay.percentile(99)),
      max: ms(delay.max),
      cpu: process.cpuUsage(),
    });
  }
  if (message === 'stop') void app.close().then(() => process.disconnect());
});
process.send?.({ url: await app.getUrl() });
