import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Injectable, Module, type Provider, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ManifestModel, ModelArchive } from '#libs/archive';
import { BaseHandler } from './base-handler.js';
import { HandlerRegistry, type HandlerPlan } from './handler-registry.js';
import { HandlerModule } from './handler.module.js';
import { ModelHandler } from './model-handler.js';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'marline-registry-'));
  mkdirSync(join(dir, 'archive'));
  writeFileSync(join(dir, 'archive', 'mine.mjs'), '');
  writeFileSync(join(dir, 'outside.mjs'), '');
  mkdirSync(join(dir, 'archive', 'folder.mjs'));
  symlinkSync(join(dir, 'outside.mjs'), join(dir, 'archive', 'link.mjs'));
  symlinkSync(dir, join(dir, 'archive', 'up'));
});
afterAll(() => rmSync(dir, { recursive: true }));

const archive = (model: ManifestModel, trusted = true): ModelArchive => ({
  url: 'demo.mar',
  defaultName: 'demo',
  dir: join(dir, 'archive'),
  sha256: '',
  manifest: { runtime: 'python', model },
  config: { engine: {}, raw: {}, warnings: [] },
  trusted,
  release: () => Promise.resolve(),
});

@Injectable()
class Features {
  readonly values = [1, 2];
}

@ModelHandler('fraud')
class Fraud extends BaseHandler {
  constructor(readonly features: Features) {
    super();
  }
}

@Module({ imports: [HandlerModule], providers: [Fraud, Features] })
class FraudModule {}

async function registryOf(...providers: Provider[]): Promise<HandlerRegistry> {
  @Module({ providers })
  class HostModule {}
  const app = await Test.createTestingModule({ imports: [HandlerModule, HostModule] }).compile();
  await app.init();
  return app.get(HandlerRegistry, { strict: false });
}

const hostPlan = (plan: HandlerPlan) => {
  if (plan.runs !== 'host') throw new Error(`runs ${plan.runs}`);
  return plan;
};

describe('handlers of the application', () => {
  it('are made anew for each model version, with the providers of their own module', async () => {
    const app = await Test.createTestingModule({ imports: [FraudModule] }).compile();
    await app.init();
    const plan = hostPlan(
      app.get(HandlerRegistry, { strict: false }).plan(archive({ handler: 'fraud' }), {}),
    );
    const [one, two] = [(await plan.create()) as Fraud, (await plan.create()) as Fraud];
    expect(one).toBeInstanceOf(Fraud);
    expect(one).not.toBe(two);
    expect(one.features).toBe(app.get(Features, { strict: false }));
    expect(two.features).toBe(one.features);
  });

  it('are chosen by the name that a registration gives, before a file of the archive', async () => {
    @ModelHandler('mine.mjs')
    class Mine extends BaseHandler {}
    const registry = await registryOf(Mine);
    expect(hostPlan(registry.plan(archive({ handler: 'other.py' }), { handler: 'mine.mjs' })).name).toBe(
      'mine.mjs',
    );
  });

  it('may run in the worker', async () => {
    @ModelHandler({ name: 'close', runs: 'worker', module: 'file:///app/close.js' })
    class Close extends BaseHandler {}
    const registry = await registryOf(Close);
    expect(registry.plan(archive({ handler: 'close' }), {})).toEqual({
      runs: 'worker',
      handler: { kind: 'module', url: 'file:///app/close.js', exportName: 'Close' },
    });
  });

  it('leave unmarked subclasses alone', async () => {
    class Special extends Fraud {}
    expect((await registryOf(Features, Fraud, Special)).names()).toEqual(['fraud']);
  });

  it.each<[string, () => Type[], string]>([
    ['a name that is taken', () => [Fraud, marked('fraud')], 'has this name already; choose another.'],
    [
      'the name of a built-in handler',
      () => [marked('image_classifier')],
      'this is the name of a built-in handler',
    ],
    ['no name', () => [marked('')], 'a handler needs a name.'],
    ['a class that is no handler', () => [notAHandler()], 'the class does not extend BaseHandler.'],
    [
      'a worker handler without its module',
      () => [workerHandler(undefined)],
      "runs: 'worker' needs module: import.meta.url",
    ],
    [
      'a worker handler that wants injection',
      () => [injectedInWorker()],
      'nothing can be injected in a worker',
    ],
  ])('stop the start with %s', async (_what, types, message) => {
    await expect(registryOf(Features, ...types())).rejects.toMatchObject({
      code: 'OPTIONS_INVALID',
      message: expect.stringContaining(message) as string,
    });
  });

  it('stop the start when two modules provide the same class', async () => {
    @Module({ imports: [FraudModule], providers: [Fraud, Features] })
    class Second {}
    const app = await Test.createTestingModule({ imports: [Second] }).compile();
    await expect(app.init()).rejects.toThrow(
      "@ModelHandler('fraud') on Fraud: the class is a provider of two modules",
    );
  });
});

function marked(name: string): Type {
  @ModelHandler(name)
  class Other extends BaseHandler {}
  return Other;
}

function notAHandler(): Type {
  @ModelHandler('stranger')
  class Stranger {
    readonly own = 1;
  }
  return Stranger;
}

function workerHandler(module: string | undefined): Type {
  @ModelHandler({ name: 'close', runs: 'worker', module: module as string })
  class Close extends BaseHandler {}
  return Close;
}

function injectedInWorker(): Type {
  @ModelHandler({ name: 'close', runs: 'worker', module: 'file:///app/close.js' })
  class Close extends BaseHandler {
    constructor(readonly features: Features) {
      super();
    }
  }
  return Close;
}

describe('archives', () => {
  let registry: HandlerRegistry;
  beforeAll(async () => {
    registry = await registryOf(Features, Fraud);
  });

  const errorOf = (model: ManifestModel, trusted = true, overrides = {}) => {
    const plan = registry.plan(archive(model, trusted), overrides);
    return plan.runs === 'nowhere' ? plan.error : plan;
  };

  it.each(['image_classifier', 'image_segmenter', 'object_detector', 'tensor', 'text_classifier'])(
    'are served by the built-in %s, whatever the runtime',
    (handler) => {
      const served = { runs: 'worker', handler: { kind: 'builtin', name: handler } };
      expect(
        registry.plan(archive({ handler, serializedFile: 'model.onnx' }, false), { runtime: 'python3' }),
      ).toEqual(served);
      expect(
        registry.plan(archive({ handler: 'old.py', serializedFile: 'model.onnx' }), { handler }),
      ).toEqual(served);
    },
  );

  it('are served by their own JavaScript file', () => {
    const url = pathToFileURL(join(dir, 'archive', 'mine.mjs')).href;
    expect(registry.plan(archive({ handler: 'mine.mjs' }), {})).toEqual({
      runs: 'worker',
      handler: { kind: 'module', url },
    });
    expect(registry.plan(archive({ handler: 'mine.mjs:Second' }), {})).toEqual({
      runs: 'worker',
      handler: { kind: 'module', url, exportName: 'Second' },
    });
  });

  it.each(['mine.mjs', 'mine.py', 'image_segmenter'])(
    'run no code unless they are trusted: %s',
    (handler) => {
      expect(errorOf({ handler }, false)).toMatchObject({
        code: 'ARCHIVE_UNSAFE',
        message: expect.stringContaining(`${handler} is code`) as string,
      });
    },
  );

  it.each(['gone.mjs', 'folder.mjs', 'link.mjs', '../outside.mjs', 'up/outside.mjs', '/etc/hosts.js'])(
    'are refused with the handler file %s',
    (handler) => {
      expect(errorOf({ handler })).toMatchObject({
        code: 'HANDLER_NOT_FOUND',
        message: `The archive has no file ${handler}, which its manifest names as handler.`,
      });
    },
  );

  it.each([
    'echo_handler.py:handle',
    'image_classifier',
    'image_segmenter',
    'object_detector',
    'text_classifier',
    'handler',
  ])('with the Python handler %s are served by Python', (handler) => {
    expect(registry.plan(archive({ handler, serializedFile: 'model.pt' }), {})).toEqual({
      runs: 'python',
      handler,
    });
  });

  it('with a Python handler are served by Python also when the model is an ONNX one', () => {
    expect(registry.plan(archive({ handler: 'own.py', serializedFile: 'model.onnx' }), {})).toEqual({
      runs: 'python',
      handler: 'own.py',
    });
  });

  it('of a runtime that is not there are told the way out', () => {
    expect(
      errorOf({ handler: 'lib.so:Handler', serializedFile: 'm.pt' }, true, { runtime: 'LSP' }),
    ).toMatchObject({
      code: 'RUNTIME_UNSUPPORTED',
      message:
        'The handler "lib.so:Handler" (runtime LSP) cannot be served: there are workers for Python and for JavaScript. ' +
        'Use a built-in handler (image_classifier, image_segmenter, object_detector, tensor, text_classifier) with an .onnx file, a Python (.py) or JavaScript handler (.mjs), or a handler of the application (fraud).',
    });
  });

  it('with a built-in handler that Python does not have need an ONNX file', () => {
    expect(errorOf({ handler: 'tensor', serializedFile: 'model.pt' })).toMatchObject({
      code: 'RUNTIME_UNSUPPORTED',
      message:
        'The handler "tensor" runs ONNX models, and the archive has the file model.pt: export the model as .onnx.',
    });
  });

  it('without a handler say so', () => {
    expect(errorOf({ serializedFile: 'model.onnx' })).toMatchObject({ code: 'HANDLER_NOT_FOUND' });
  });
});
