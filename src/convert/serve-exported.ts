import 'reflect-metadata';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import { ArchiveModule, packArchive } from '#libs/archive';
import { MarlineError, toMarlineError, type TensorMetadata, type Tensors } from '#libs/common';
import { InferenceModule, ModelRegistry } from '#libs/inference';
import { MarlineOptions } from '#libs/serve';
import type { ExportedModel } from './export-result.js';

/** An exported model in the engine that will serve it. */
export interface ServedExport {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** Runs the model once; the tensors are given away. @throws MarlineError what the engine says */
  run(tensors: Tensors): Promise<Tensors>;
  close(): Promise<void>;
}

/**
 * Serves an exported model as a server would, with one worker and without its handler: what the engine answers is compared, not
 * what another runtime would.
 * @throws MarlineError `MODEL_INVALID` when the engine refuses the model
 */
export async function serveExported({ folder, weights }: ExportedModel): Promise<ServedExport> {
  const modelStore = join(folder, 'store');
  await mkdir(modelStore);
  await packArchive({
    modelName: 'model',
    version: '1.0',
    handler: 'tensor',
    runtime: 'node',
    cwd: folder,
    serializedFile: 'onnx/model.onnx',
    extraFiles: weights.length > 0 ? ['onnx'] : [],
    exportPath: modelStore,
    archiveFormat: 'no-archive',
  });
  const cacheDir = join(folder, 'cache');
  const inference = InferenceModule.registerAsync({
    imports: [ArchiveModule.register({ modelStore, cacheDir })],
    useFactory: () => Object.assign(new MarlineOptions(), { cacheDir }),
  });
  const application = await NestFactory.createApplicationContext(inference, {
    logger: false,
    abortOnError: false,
  });
  try {
    const registry = application.get(ModelRegistry, { strict: false });
    const runtime = await registry.register({ url: 'model', initialWorkers: 1, synchronous: true });
    let runs = 0;
    return {
      ...runtime.metadata,
      run: async (tensors) => {
        const answer = await runtime.predict({
          id: `convert-${runs++}`,
          input: { kind: 'tensors', tensors },
        });
        if (!answer.streaming && answer.result.output.kind === 'tensors') return answer.result.output.tensors;
        throw new MarlineError('MODEL_INVALID', { reason: 'The engine answered without tensors.' });
      },
      close: () => application.close(),
    };
  } catch (error) {
    await application.close();
    const { code, cause } = toMarlineError(error);
    // Why the workers did not start says more than that they did not.
    throw code === 'WORKERS_NOT_STARTED' && cause !== undefined ? cause : error;
  }
}
