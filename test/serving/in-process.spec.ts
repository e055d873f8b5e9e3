import { Controller, Get, Post, Query } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import {
  BaseHandler,
  InjectModel,
  MarlineHealthIndicator,
  ModelHandler,
  ServedModel,
  getModelToken,
  tensor,
  type RequestsContext,
  type Tensors,
} from '#libs/serve';
import { mlpInput } from '../support/open-registry.js';
import { serveApp, type ServedApp } from '../support/serve-app.js';

let served: ServedApp;
afterEach(() => served.close());

const model = <Input, Output>(name: string) =>
  served.app.get<ServedModel<Input, Output>>(getModelToken(name));

describe('a model with a handler in its worker, called in process', () => {
  it('takes and gives tensors', async () => {
    served = await serveApp({ models: ['mlp'], inject: ['mlp'] });
    const { logits } = await model<Tensors, Tensors>('mlp').predict(mlpInput());
    expect(logits).toMatchObject({ dtype: 'float32', shape: [1, 10] });
  });

  it('takes and gives data', async () => {
    served = await serveApp({ models: ['slow'], inject: ['slow'] });
    expect(await model<number, { ms: number }>('slow').predict(3)).toMatchObject({ ms: 3 });
  });

  it('rejects with the status and text that the handler chose', async () => {
    served = await serveApp({ models: ['faulty'], inject: ['faulty'] });
    const faulty = model<string, unknown>('faulty');
    await expect(faulty.predict('prediction-exception')).rejects.toMatchObject({
      status: 422,
      message: 'no face in the photo',
    });
    expect(await faulty.predict('nothing')).toEqual({ fine: true });
  });

  it('rejects at the deadline, and serves on', async () => {
    served = await serveApp({ models: ['slow'], inject: ['slow'] });
    const slow = model<number, { ms: number }>('slow');
    await expect(slow.predict(300, { deadlineMs: 20 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    await expect(slow.predict(0, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'REQUEST_CANCELLED',
    });
  });
});

/** Its vocabulary never arrives. */
@ModelHandler('fraud_handler')
class PatientHandler extends BaseHandler<number, number> {
  override initialize(): Promise<void> {
    return new Promise(() => {});
  }
}

@ModelHandler('fraud_handler')
class SpellingHandler extends BaseHandler<string, string> {
  override async preprocess(word: string, context: RequestsContext): Promise<Tensors> {
    for (const letter of word.slice(0, -1)) await context.sendIntermediateResponse(0, letter);
    return { features: tensor('float32', Float32Array.of(word.length, 0), [1, 2]) };
  }
  override postprocess(): string {
    return 'end';
  }
}

describe('a model with a handler of the application', () => {
  it('is not ready while its handler initialises; a request waits for it within its deadline', async () => {
    served = await serveApp({
      models: ['fraud'],
      handlers: [PatientHandler],
      inject: ['fraud'],
      ready: false,
    });
    await expect(model('fraud').predict(1, { deadlineMs: 50 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    expect((await fetch(`${served.url}/health/ready`)).status).toBe(503);
    expect((await fetch(`${served.url}/health/models/fraud`)).status).toBe(503);
    expect((await fetch(`${served.url}/health/live`)).status).toBe(200);
  });

  it('streams the parts of an answer', async () => {
    served = await serveApp({ models: ['fraud'], handlers: [SpellingHandler], inject: ['fraud'] });
    const parts: unknown[] = [];
    for await (const part of model('fraud').stream('abc')) parts.push(part);
    expect(parts).toEqual(['a', 'b', 'end']);
    await expect(model('fraud').predict('abc')).rejects.toThrow('read them with stream()');
  });
});

@Controller('checks')
class ChecksController {
  constructor(
    private readonly health: MarlineHealthIndicator,
    @InjectModel('nobody') private readonly nobody: ServedModel,
  ) {}

  @Get()
  check(@Query('model') name?: string) {
    return name === undefined ? this.health.ready('models') : this.health.model(name);
  }

  @Post()
  ask() {
    return this.nobody.predict(1);
  }
}

describe('the application', () => {
  it('can inject a model that nobody loaded, and the health indicator', async () => {
    served = await serveApp({ models: ['slow'], controllers: [ChecksController], inject: ['nobody'] });
    const ask = async (path: string, method = 'GET') =>
      (await fetch(`${served.url}${path}`, { method })).text();
    expect(JSON.parse(await ask('/checks'))).toEqual({ models: { status: 'up', models: { slow: 'ready' } } });
    expect(JSON.parse(await ask('/checks?model=slow'))).toMatchObject({
      slow: { status: 'up', readyWorkers: 1 },
    });
  });

  it('answers a model’s failure with its status through the filter that Nest brings', async () => {
    served = await serveApp({ models: ['slow'], controllers: [ChecksController], inject: ['nobody'] });
    const response = await fetch(`${served.url}/checks`, { method: 'POST' });
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({ statusCode: 404, message: 'Model not found: nobody' });
  });
});
