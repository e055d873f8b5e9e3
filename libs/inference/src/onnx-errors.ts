import { MarlineError, isMarlineError, messageOf } from '#libs/common';

const MAX_TEXT = 500;
const OUT_OF_MEMORY =
  /failed to allocate|bad_alloc|bad allocation|out of memory|cuda(?:.*)memory_allocation|CUDNN_STATUS_ALLOC_FAILED/i;
const WRONG_INPUT =
  /invalid rank for input|is missing in 'feeds'|Tensor\.data|got invalid dimensions for input|unexpected input data type|invalid feed input/i;

/** That a library is missing (which one, ONNX Runtime writes to its own log only), or what CUDA says of a GPU or its driver. */
const NO_CUDA = /AppendExecutionProvider_CUDA: (.*)|(CUDA failure \d+: [^;]*[^; ])/i;
const CUDA_ADVICE =
  'A GPU is there when nvidia-smi lists it. ONNX Runtime needs the libraries of the CUDA version that its own CUDA library was built for, ' +
  'and cuDNN 9, in the folders of the system or of LD_LIBRARY_PATH; ldd libonnxruntime_providers_cuda.so lists what is missing.';

/**
 * What ONNX Runtime said, fit for a caller: without source positions, C++ signatures and file paths, in one line.
 * The full text stays in the error's cause, for the log.
 */
export function describeFailure(error: unknown): string {
  const text = messageOf(error)
    .replace(/^Load model from .*? failed:\s*/s, '')
    .replace(/\/onnxruntime_src\/\S+?:\d+\s+[^\n(]*\((?:[^()\n]|\([^()\n]*\))*\)(?: const)?\s*/g, '')
    .replace(
      /(?<![\w.-])(?:[A-Za-z]:)?(?:[\\/][^\s"'\\/:;,()<>]+){2,}[\\/]?/g,
      (path) => path.split(/[\\/]/).findLast((part) => part !== '') ?? '',
    )
    .replace(/\s+/g, ' ')
    .trim();
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

/**
 * The error of a model that could not be opened: `MODEL_INVALID`, `OUT_OF_RESOURCES`, or `DEVICE_UNAVAILABLE` where CUDA cannot be
 * used. Our own errors stay as they are.
 */
export function loadFailure(error: unknown): MarlineError {
  if (isMarlineError(error)) return error;
  const text = describeFailure(error);
  if (OUT_OF_MEMORY.test(text)) return new MarlineError('OUT_OF_RESOURCES', {}, { cause: error });
  const [, library, failure] = NO_CUDA.exec(messageOf(error)) ?? [];
  const said = library ?? failure;
  if (said !== undefined) {
    const reason = `ONNX Runtime cannot use the GPU: ${said}. ${CUDA_ADVICE}`;
    return new MarlineError('DEVICE_UNAVAILABLE', { reason }, { cause: error });
  }
  return new MarlineError(
    'MODEL_INVALID',
    { reason: `ONNX Runtime refuses the model: ${text}` },
    { cause: error },
  );
}

/** The error of a run that failed: `INVALID_INPUT`, `OUT_OF_RESOURCES` or `PREDICTION_FAILED`. Our own errors stay as they are. */
export function runFailure(error: unknown): MarlineError {
  if (isMarlineError(error)) return error;
  const text = describeFailure(error);
  if (OUT_OF_MEMORY.test(text)) return new MarlineError('OUT_OF_RESOURCES', {}, { cause: error });
  if (WRONG_INPUT.test(text)) return new MarlineError('INVALID_INPUT', { reason: text }, { cause: error });
  return new MarlineError('PREDICTION_FAILED', { reason: text }, { cause: error });
}
