import { MarlineError, isMarlineError, messageOf, type ItemOutput } from '#libs/common';

const OK = 200;

/**
 * A failed prediction with a text and an HTTP status for the caller, as in TorchServe. Any other error that a hook throws
 * is answered 503 "Prediction failed", and its text only goes to the log.
 *
 * @example throw new PredictionException('The photo shows no face.', 422);
 * @publicApi
 */
export class PredictionException extends Error {
  override readonly name = 'PredictionException';

  /**
   * @param errorCode HTTP status from 400 to 599; 500 by default, and for anything else. As in TorchServe 413 is answered 507, and 200
   * with the text `error`
   */
  constructor(
    message: string,
    readonly errorCode = 500,
  ) {
    super(message);
  }
}

/**
 * What the caller of a prediction is told about an error of a hook.
 * @param isOurs true for errors that the framework itself raised inside the hook: they keep their code
 */
export function toPredictionError(error: unknown, isOurs: (error: MarlineError) => boolean): MarlineError {
  if (isMarlineError(error) && (error.code === 'INVALID_INPUT' || isOurs(error))) return error;
  if (isPredictionException(error)) {
    const { message: reason, errorCode } = error;
    return new MarlineError(
      'PREDICTION_EXCEPTION',
      { reason, status: statusOf(errorCode) },
      { cause: error },
    );
  }
  return new MarlineError(
    isOutOfMemory(error) ? 'OUT_OF_RESOURCES' : 'PREDICTION_FAILED',
    {},
    { cause: error },
  );
}

/** The answer that an exception stands for, where it names the status of one. */
export function answerOf(error: unknown): ItemOutput | undefined {
  if (!isPredictionException(error) || error.errorCode !== OK) return undefined;
  return { kind: 'text', text: 'error', encoding: 'text' };
}

/** True when memory ran out, in this process or on the GPU, as far as the text of the error tells. */
export function isOutOfMemory(error: unknown): boolean {
  const text = messageOf(error);
  if (error instanceof RangeError) return /allocation failed|out of memory/i.test(text);
  // TorchServe takes any text with CUDA in it for this; the others are ONNX Runtime's.
  return /CUDA|out of memory|failed to allocate memory/i.test(text);
}

/**
 * True when a run of several items failed in a way that one of them alone may have caused: the others are then worth runs of
 * their own. Not when memory ran out, time is up or the model is no good.
 */
export function isRefusedItem(error: unknown): boolean {
  if (isMarlineError(error)) return error.code === 'PREDICTION_FAILED' || error.code === 'INVALID_INPUT';
  return !isOutOfMemory(error);
}

// By name and field, because an archive may carry a copy of this class.
function isPredictionException(error: unknown): error is PredictionException {
  return error instanceof Error && error.name === 'PredictionException' && 'errorCode' in error;
}

function statusOf(errorCode: unknown): number {
  if (errorCode === 413) return 507;
  return Number.isInteger(errorCode) && Number(errorCode) >= 400 && Number(errorCode) <= 599
    ? Number(errorCode)
    : 500;
}
