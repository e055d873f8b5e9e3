import type { Dirent } from 'node:fs';
import { lstat, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MarlineError } from '#libs/common';
import { exportProblem } from './export-problem.js';
import { oneLine, readExportResult, type ExportedModel } from './export-result.js';
import type { ModelInput } from './model-input.js';
import type { PythonModel } from './python-model.js';
import { runPython } from './python-run.js';

/** What to export, and how. */
export interface ExportOrder {
  readonly model: PythonModel;
  readonly inputs: readonly ModelInput[];
  /** `fixed` takes the batch size of the inputs and no other; `free` does so only where it must. */
  readonly batch: ExportedModel['batch'];
  readonly python: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const SCRIPT = fileURLToPath(new URL('./export_onnx.py', import.meta.url));
const LARGEST_RESULT_BYTES = 2 ** 20;

/**
 * Exports a model to ONNX in Python, in the archive's own folder. This runs the archive's code.
 * @throws MarlineError `RUNTIME_UNSUPPORTED` when Python or PyTorch is missing, `MODEL_INVALID` with the reason when it cannot be
 * exported, `INVALID_INPUT` when the inputs are not the model's
 */
export async function exportModel(order: ExportOrder): Promise<ExportedModel> {
  const { model, inputs, batch, python, timeoutMs, signal } = order;
  const folder = join(model.workDir, `export-${batch}`);
  const privateDir = join(model.workDir, 'home');
  await mkdir(folder);
  await mkdir(privateDir, { recursive: true });
  const { modelFile = null, serializedFile = null } = model;
  await writeFile(join(folder, 'job.json'), JSON.stringify({ modelFile, serializedFile, batch, inputs }));
  const { ended, output } = await runPython({
    python,
    args: [SCRIPT, folder],
    cwd: model.dir,
    privateDir,
    timeoutMs,
    signal,
  });
  const cause = new Error(output);
  const text = await readResult(folder);
  if (text === undefined) {
    const last = oneLine(output.trimEnd().split('\n').at(-1) ?? '');
    throw new MarlineError(
      'MODEL_INVALID',
      {
        reason: `Python ended (${ended}) before it had exported the model${last === '' ? '' : `: ${last}`}.`,
      },
      { cause },
    );
  }
  const result = readExportResult(text);
  if (!result.ok) throw exportProblem(result, { python, inputs, model }, cause);
  const entries = await readdir(join(folder, 'onnx'), { withFileTypes: true }).catch((): Dirent[] => []);
  const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  if (!files.includes('model.onnx'))
    throw new MarlineError('MODEL_INVALID', { reason: 'The exporter wrote no model.' }, { cause });
  return { ...result.exported, folder, weights: files.filter((name) => name !== 'model.onnx') };
}

async function readResult(folder: string): Promise<string | undefined> {
  const path = join(folder, 'result.json');
  const file = await lstat(path).catch(() => undefined);
  return file?.isFile() === true && file.size <= LARGEST_RESULT_BYTES ? readFile(path, 'utf8') : undefined;
}
