import { realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkPackTarget } from '#libs/archive';
import { MarlineError, isMarlineError } from '#libs/common';
import type { CarriedFiles } from './carried-files.js';
import { chooseHandler, type HandlerChoice } from './choose-handler.js';
import { exportModel } from './export-model.js';
import type { ExportedModel } from './export-result.js';
import { IMAGE_INPUT, checkFreeDimensions, isImageInput, type ModelInput } from './model-input.js';
import { isJavaScriptFile, packConverted } from './pack-converted.js';
import { openPythonModel, type PythonModel } from './python-model.js';
import { verifyExport, type VerifiedModel } from './verify-export.js';

/** What `marline convert` is asked for. */
export interface ConvertOrder {
  /** The archive, a file or folder of this machine. */
  readonly archive: string;
  /** None: what its handler gives the model, if that is known. */
  readonly inputs: readonly ModelInput[];
  readonly handler: string | undefined;
  readonly python: string;
  readonly modelName: string | undefined;
  /** An existing folder. */
  readonly exportPath: string;
  /** Largest difference of an answer, as a part of the largest value of its output. */
  readonly tolerance: number;
  readonly timeoutMs: number;
  readonly force: boolean;
  readonly signal: AbortSignal;
  readonly announce: (text: string) => void;
}

/** What was written, and what became of the archive's parts. */
export interface Conversion {
  readonly path: string;
  readonly model: PythonModel;
  readonly handler: HandlerChoice;
  readonly exported: ExportedModel;
  readonly verified: VerifiedModel;
  readonly files: CarriedFiles;
}

/**
 * Converts an archive with a PyTorch model into one for this engine. Runs the archive's code in Python. Nothing is written unless
 * the engine gives PyTorch's answers.
 * @throws MarlineError
 */
export async function convertArchive(order: ConvertOrder): Promise<Conversion> {
  const model = await openPythonModel(order.archive);
  try {
    const modelName = order.modelName ?? model.name;
    const { manifest, handlerSource: source } = model;
    const handler = chooseHandler({ modelName, handler: manifest.handler, source, given: order.handler });
    const inputs = inputsFor(handler, order.inputs);
    await checkHandler(handler.handler);
    await checkTarget(modelName, order);
    const { exportPath, force, signal } = order;
    const { exported, verified } = await exportVerified(model, inputs, order);
    signal.throwIfAborted();
    const { files, path } = await packConverted({
      model,
      modelName,
      handler: handler.handler,
      exported,
      exportPath,
      force,
    });
    return { path, model, handler, exported, verified, files };
  } finally {
    await model.release();
  }
}

function inputsFor({ handler }: HandlerChoice, given: readonly ModelInput[]): readonly ModelInput[] {
  if (handler === 'image_classifier') {
    const inputs = given.length > 0 ? given : [IMAGE_INPUT];
    if (isImageInput(inputs)) return inputs;
    throw new MarlineError('INVALID_INPUT', {
      reason:
        'image_classifier gives its model one input, Nx3x224x224:float32. Leave --input out, or name the handler of another input with --handler.',
    });
  }
  checkFreeDimensions(given);
  if (given.length > 0) return given;
  throw new MarlineError('INVALID_INPUT', {
    reason:
      'The archive does not tell what its model takes. Give the shape and type of each input, the batch axis first, such as --input 1x1x28x28:float32, or a NumPy file with --sample.',
  });
}

async function checkHandler(handler: string): Promise<void> {
  if (!/[./]/.test(handler)) return;
  const reason = isJavaScriptFile(handler)
    ? `The handler ${handler} is not a file.`
    : `The handler ${handler} is no JavaScript file (.js, .mjs), and no name of a handler either.`;
  const isFile = (await stat(handler).catch(() => undefined))?.isFile() === true;
  if (!isFile || !isJavaScriptFile(handler)) throw new MarlineError('INVALID_INPUT', { reason });
}

/** Before minutes of work, and not after. */
async function checkTarget(modelName: string, { archive, exportPath, force }: ConvertOrder): Promise<void> {
  await checkPackTarget(modelName, exportPath);
  const target = join(exportPath, `${modelName}.mar`);
  const found = await realpath(target).catch(() => undefined);
  if (found === undefined) return;
  const wayOut = 'Choose another --export-path or --model-name';
  if (found === (await realpath(archive)))
    throw new MarlineError('INVALID_INPUT', { reason: `${target} is the archive itself. ${wayOut}.` });
  if (!force)
    throw new MarlineError('INVALID_INPUT', {
      reason: `${target} exists already; nothing was run. ${wayOut}, or add --force.`,
    });
}

/** With a free batch axis if the answers hold, else with the batch size of the inputs: an exporter may take that for a constant. */
async function exportVerified(
  model: PythonModel,
  inputs: readonly ModelInput[],
  { python, timeoutMs, tolerance, signal, announce }: ConvertOrder,
): Promise<Pick<Conversion, 'exported' | 'verified'>> {
  const exportAs = (batch: ExportedModel['batch']) => {
    announce(`Python exports ${model.serializedFile ?? model.modelFile} …`);
    return exportModel({ model, inputs, batch, python, timeoutMs, signal });
  };
  const verify = async (exported: ExportedModel) => {
    announce(`The engine runs ${exported.cases.length} batches …`);
    return { exported, verified: await verifyExport(exported, tolerance) };
  };
  const exported = await exportAs('free');
  try {
    return await verify(exported);
  } catch (error) {
    const isAnswer = isMarlineError(error) && error.details['run'] !== undefined;
    if (exported.batch === 'fixed' || !isAnswer) throw error;
    announce(`${error.message} Once more, with a fixed batch axis.`);
    return await verify(await exportAs('fixed'));
  }
}
