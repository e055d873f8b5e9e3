import { MarlineError, type ErrorCode } from '#libs/common';
import type { ExportFailure } from './export-result.js';
import type { ModelInput } from './model-input.js';
import type { PythonModel } from './python-model.js';

/** What the texts refer to. */
export interface ExportSubject {
  readonly python: string;
  readonly inputs: readonly ModelInput[];
  readonly model: Pick<PythonModel, 'modelFile' | 'serializedFile' | 'manifest'>;
}

type Text = (detail: string, subject: ExportSubject) => string;

const CONVERT = 'This model cannot be converted';

/** By the program's word for the problem: the code of the error, and what is wrong and what to do. */
const PROBLEMS: Readonly<Record<string, readonly [ErrorCode, Text]>> = {
  'no-torch': [
    'RUNTIME_UNSUPPORTED',
    (detail, { python }) =>
      `"${python}" has no PyTorch (${detail}). Install it there (${python} -m pip install torch onnx onnxscript), or name an interpreter that has it with --python.`,
  ],
  'missing-module': [
    'RUNTIME_UNSUPPORTED',
    (detail, { python, model }) =>
      `"${python}" has no package ${detail}, which the model or its export needs. ${howToInstall(python, detail, model)}`,
  ],
  classes: [
    'MODEL_INVALID',
    (detail, { model }) =>
      `${CONVERT}: TorchServe wants exactly one class in ${model.modelFile}, and it has ${detail === '' ? 'none' : detail}.`,
  ],
  load: [
    'MODEL_INVALID',
    (detail, { model }) =>
      `${CONVERT}: it does not load as TorchServe loads it, the class of ${model.modelFile} without arguments` +
      `${model.serializedFile === undefined ? '' : ` and the state dict ${model.serializedFile}`}. ${detail}`,
  ],
  'no-torchscript': [
    'MODEL_INVALID',
    (detail, { model }) =>
      `${CONVERT}: ${model.serializedFile} is no TorchScript model, and the archive names no model file that a state dict would go with. ${detail}`,
  ],
  gpu: [
    'MODEL_INVALID',
    (detail) =>
      `${CONVERT}: it runs on a GPU only, and it is exported on the CPU. ${detail}. Take .cuda() and fixed devices out of its code.`,
  ],
  quantised: [
    'MODEL_INVALID',
    (detail) =>
      `${CONVERT}: it is quantised (${detail}), and PyTorch's quantised operators have no ONNX form. Convert the model that it was made from, and quantise the ONNX file with ONNX Runtime's tools.`,
  ],
  'control-flow': [
    'MODEL_INVALID',
    (detail) =>
      `${CONVERT}: which way its code goes depends on the values of its input (${detail}), and an export would keep only one way. Use torch.where or torch.cond there, or archive it as torch.jit.script(model).`,
  ],
  operator: [
    'MODEL_INVALID',
    (detail) =>
      `${CONVERT}: its operator ${detail} has no ONNX form. Replace it in the model, or try a newer PyTorch.`,
  ],
  export: ['MODEL_INVALID', (detail) => `${CONVERT}: PyTorch cannot export it. ${detail}`],
  random: [
    'MODEL_INVALID',
    (detail) =>
      `${CONVERT}: its output ${detail} is another one each time for the same input, so nothing can be compared.`,
  ],
  outputs: [
    'MODEL_INVALID',
    (detail) =>
      `${CONVERT}: it answers with ${detail}, and only tensors (alone, or in tuples, lists and dictionaries) can be served.`,
  ],
  inputs: [
    'INVALID_INPUT',
    (detail, { inputs }) =>
      `The model takes ${detail || 'no input'}; ${inputs.length} given. Give one --input or --sample for each, in this order.`,
  ],
  sample: ['INVALID_INPUT', (detail) => `The sample cannot be used. ${detail}`],
  run: [
    'INVALID_INPUT',
    (detail) => `The model does not take this input. ${detail}. Give what it takes with --input or --sample.`,
  ],
};

/** The error of an export that failed, in words for the one who converts. */
export function exportProblem(
  { problem, detail }: ExportFailure,
  subject: ExportSubject,
  cause: Error,
): MarlineError {
  const [code, text] = PROBLEMS[Object.hasOwn(PROBLEMS, problem) ? problem : 'export'] as readonly [
    ErrorCode,
    Text,
  ];
  return new MarlineError(code, { reason: text(detail, subject) }, { cause });
}

function howToInstall(python: string, name: string, { manifest }: ExportSubject['model']): string {
  const other = 'or name an interpreter that has it with --python';
  if (name.startsWith('onnx'))
    return `Install them there (${python} -m pip install onnx onnxscript), ${other}.`;
  if (manifest.requirementsFile !== undefined)
    return `Install there what the archive's ${manifest.requirementsFile} lists, ${other}.`;
  return `Install it there, ${other}.`;
}
