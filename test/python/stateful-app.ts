import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packArchive } from '#libs/archive';
import { ServedModel, type ModelRegistry, type ModelRuntime } from '#libs/inference';
import type { MarlineModuleOptions } from '#libs/serve';
import { fixture } from '../support/open-registry.js';
import { preloadedPython } from '../support/preloaded-python.js';
import { pythonVenv } from '../support/python-venv.js';
import { serveApp } from '../support/serve-app.js';

const { python = '', missing } = await pythonVenv();
if (missing !== undefined) console.warn(`No Python handler remembers anything: ${missing}.`);

/** The languages in which the handlers of these tests are written; Python only where it is. */
export const LANGUAGES =
  missing === undefined ? (['python', 'javascript'] as const) : (['javascript'] as const);
export type Language = (typeof LANGUAGES)[number];

/** A model with one of the handlers that exist in both languages. */
export interface StatefulModel {
  readonly url: string;
  readonly runtime: ModelRuntime;
  readonly model: ServedModel;
}

export interface StatefulApp {
  readonly url: string;
  readonly registry: ModelRegistry;
  /** The folder of the archives. */
  readonly store: string;
  /**
   * Registers a model and waits for its workers, which are processes in either language.
   * @param handler `sequence` or `parts`
   * @param config lines of `model-config.yaml`
   * @param engine a further key of its section `marline`
   */
  serve(
    handler: string,
    language: Language,
    config: readonly string[],
    engine?: string,
  ): Promise<StatefulModel>;
  /** Packs `tensors.mar`, an ONNX model with the built-in handler. */
  packModel(config: readonly string[]): Promise<void>;
  /** Takes all models out of service. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

export async function statefulApp(options: MarlineModuleOptions = {}): Promise<StatefulApp> {
  // A test has new workers for each model; most of their start is PyTorch.
  const preloaded = missing === undefined ? await preloadedPython(python, ['torch']) : undefined;
  const app = await serveApp({ options: { python: preloaded?.python ?? '', ...options } });
  const { url, registry, models } = app;
  let count = 0;
  const write = (name: string, lines: readonly string[]): string => {
    const file = join(models.cacheDir, '..', `${name}.yaml`);
    writeFileSync(file, lines.join('\n'));
    return file;
  };
  return {
    url,
    registry,
    store: models.store,
    async close() {
      await app.close();
      await preloaded?.close();
    },
    async packModel(config) {
      await packArchive({
        modelName: 'tensors',
        version: '1.0',
        handler: 'tensor',
        serializedFile: fixture('models/mlp.onnx'),
        configFile: write('tensors', config),
        exportPath: models.store,
        runtime: 'node',
      });
    },
    async clear() {
      for (const { name } of registry.all()) await registry.unregister(name);
    },
    async serve(handler, language, config, engine) {
      const modelName = `${handler}_${language}_${++count}`;
      const file = language === 'python' ? `handlers/${handler}_handler.py` : `twins/${handler}_handler.mjs`;
      const section = ['isolation: process', ...(engine === undefined ? [] : [engine])];
      const configFile = write(modelName, [...config, `marline: { ${section.join(', ')} }`]);
      await packArchive({
        modelName,
        version: '1.0',
        handler: fileURLToPath(new URL(file, import.meta.url)),
        configFile,
        exportPath: models.store,
        runtime: language === 'python' ? 'python' : 'node',
      });
      const runtime = await registry.register({ url: `${modelName}.mar`, synchronous: true });
      return {
        url: `${url}/predictions/${modelName}`,
        runtime,
        model: new ServedModel(modelName, registry),
      };
    },
  };
}

/** Resolves when the condition holds; the test's own time-out is the limit. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** The error of what runs in a worker that is killed from outside. */
export const killed = (language: Language): string =>
  language === 'python' ? 'WORKER_DIED' : 'OUT_OF_RESOURCES';
