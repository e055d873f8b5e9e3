import { randomUUID } from 'node:crypto';
import { MarlineError, isMarlineError } from '#libs/common';
import type { PredictionAnswer, PredictionRequest } from './prediction.js';
import { valueOf } from './served-model.js';

/**
 * What the handler of an archive says of its model, asked as TorchServe asks: by a request of its own with the header
 * `describe: True`. An empty object when it says no object.
 * @param model its name, for the error
 * @param predict asks the handler
 * @param rawHeaders of whoever wants to know: names and values in turn
 * @throws MarlineError `NO_WORKER` when nobody can be asked
 */
export async function handlerDescription(
  model: string,
  predict: (request: PredictionRequest) => Promise<PredictionAnswer>,
  rawHeaders: readonly string[],
): Promise<object> {
  const headers = [...rawHeaders, 'content-length', '0', 'describe', 'True'].join('\n');
  try {
    const answer = await predict({
      id: randomUUID(),
      input: { kind: 'raw', headers, parameters: [] },
      alone: true,
    });
    if (answer.streaming) {
      await answer.rest[Symbol.asyncIterator]().return?.();
      return {};
    }
    const value = valueOf(answer.result.output);
    return isPlainObject(value) ? value : {};
  } catch (error) {
    if (!isMarlineError(error) || (error.code !== 'NO_WORKER' && error.code !== 'QUEUE_FULL')) return {};
    throw new MarlineError('NO_WORKER', { model, asked: 'describe' }, { cause: error });
  }
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}
