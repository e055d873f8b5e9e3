import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Controller,
  Get,
  Injectable,
  Module,
  type CanActivate,
  type DynamicModule,
  type Type,
} from '@nestjs/common';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { Infer, InjectModel, Inferred, ModelRegistry, ServedModel, type Inference } from '#libs/inference';
import { MarlineModule } from './marline.module.js';
import type { MarlineModuleOptions, MarlineOptionsFactory } from './marline.options.js';

const folder = mkdtempSync(join(tmpdir(), 'marline-module-'));
const cacheDir = join(folder, 'cache');
let app: NestFastifyApplication | undefined;
afterEach(async () => {
  await app?.close();
  app = undefined;
});
afterAll(() => rmSync(folder, { recursive: true }));

async function start(...imports: (DynamicModule | Type)[]): Promise<NestFastifyApplication> {
  const testing = await Test.createTestingModule({ imports })
    .setLogger({ log() {}, error() {}, warn() {} })
    .compile();
  app = testing.createNestApplication<NestFastifyApplication>(new FastifyAdapter());
  await app.init();
  return app;
}
const status = async (path: string) => (await app?.inject(path))?.statusCode;

@Injectable()
class Settings implements MarlineOptionsFactory {
  readonly jobQueueSize = 3;
  createMarlineOptions(): MarlineModuleOptions {
    return { cacheDir, jobQueueSize: this.jobQueueSize };
  }
}
@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

describe('MarlineModule', () => {
  it('mounts its routes under the path, and management only when asked for', async () => {
    await start(MarlineModule.forRoot({ cacheDir, mount: 'ml' }));
    expect(await status('/ml/ping')).toBe(200);
    expect(await status('/ml/health/ready')).toBe(200);
    expect(await status('/ping')).toBe(404);
    expect(await status('/ml/models')).toBe(404);
    await app?.close();
    await start(MarlineModule.forRoot({ cacheDir, management: true }));
    expect(await status('/ping')).toBe(200);
    expect(await status('/models')).toBe(200);
  });

  it.each([
    [
      'a factory',
      {
        inject: [Settings],
        useFactory: (settings: Settings) => ({ cacheDir, jobQueueSize: settings.jobQueueSize }),
      },
    ],
    ['a late factory', { useFactory: async () => ({ cacheDir }) }],
    ['a class', { useClass: Settings }],
    ['a provider', { useExisting: Settings }],
  ])('takes its values from %s', async (_what, source) => {
    await start(MarlineModule.forRootAsync({ mount: 'ml', imports: [SettingsModule], ...source }));
    expect(await status('/ml/ping')).toBe(200);
  });

  it('refuses wrong values when the application starts', async () => {
    await expect(start(MarlineModule.forRoot({ cacheDir, jobQueueSize: 0 }))).rejects.toThrow(
      'jobQueueSize is 0',
    );
    const async = MarlineModule.forRootAsync({ useFactory: () => ({ cacheDir, jobQueueSize: -1 }) });
    await expect(start(async)).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
  });

  it('refuses what does not stand beside a factory at once', () => {
    const useFactory = () => ({});
    expect(() => MarlineModule.forRootAsync({ useFactory, moun: 'ml' } as object)).toThrow(
      'There is no option moun; did you mean mount?',
    );
    expect(() => MarlineModule.forRootAsync({ useFactory, modelStore: '/' } as object)).toThrow(
      'modelStore is a value: return it from the factory of forRootAsync.',
    );
  });

  it('asks guards that are classes, with what they inject, and guards that are objects', async () => {
    const asked: string[] = [];
    @Injectable()
    class SettingsGuard implements CanActivate {
      constructor(private readonly settings: Settings) {}
      canActivate(): boolean {
        asked.push(`class ${this.settings.jobQueueSize}`);
        return true;
      }
    }
    const refuse: CanActivate = {
      canActivate: () => {
        asked.push('object');
        return false;
      },
    };
    await start(
      MarlineModule.forRoot({ cacheDir, guards: [SettingsGuard, refuse], imports: [SettingsModule] }),
    );
    expect(await status('/ping')).toBe(403);
    expect(asked).toEqual(['class 3', 'object']);
  });

  it('lets any module inject models and use @Infer without importing it again', async () => {
    @Controller()
    class HostController {
      constructor(
        @InjectModel('fraud') readonly fraud: ServedModel,
        readonly registry: ModelRegistry,
      ) {}
      @Get('asked')
      @Infer('toxicity', { input: () => 1, attach: 'toxicity', budgetMs: 10, onFailure: 'open' })
      @Infer('fraud', { input: () => 1, attach: 'fraud', budgetMs: 10, onFailure: 'open' })
      asked(
        @Inferred('fraud') fraud: Inference<unknown>,
        @Inferred('toxicity') toxicity: Inference<unknown>,
      ) {
        return [this.fraud.name, fraud.failure?.message, toxicity.failure?.message];
      }
    }
    @Module({ imports: [MarlineModule.forFeature(['fraud'])], controllers: [HostController] })
    class HostModule {}
    await start(HostModule, MarlineModule.forRoot({ cacheDir }));
    const answer = await app?.inject('/asked');
    expect(answer?.json()).toEqual(['fraud', 'Model not found: fraud', 'Model not found: toxicity']);
  });

  it('works in an application without a server', async () => {
    const context = await Test.createTestingModule({ imports: [MarlineModule.forRoot({ cacheDir })] })
      .setLogger({ log() {}, error() {}, warn() {} })
      .compile();
    await context.init();
    expect(context.get(ModelRegistry).names()).toEqual([]);
    await context.close();
  });
});
