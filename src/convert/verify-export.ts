import { MarlineError, isMarlineError, messageOf, type TensorMetadata } from '#libs/common';
import { compareOutputs } from './compare-outputs.js';
import { readCase, type ExportedModel } from './export-result.js';
import { serveExported } from './serve-exported.js';

/** An exported model whose answers are PyTorch's. */
export interface VerifiedModel {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** The batch sizes that were run, in their order. */
  readonly batchSizes: readonly number[];
  /** The largest difference, as a part of the largest value of its output. */
  readonly difference: number;
}

/**
 * Runs all cases of an exported model in the engine that will serve it.
 * @throws MarlineError `MODEL_INVALID` when the engine refuses the model, and with the `run` in its details when that fails or gives
 * another answer
 */
export async function verifyExport(exported: ExportedModel, tolerance: number): Promise<VerifiedModel> {
  const served = await serveExported(exported);
  try {
    const batchSizes: number[] = [];
    let difference = 0;
    for (const index of exported.cases.keys()) {
      const { inputs, outputs } = await readCase(exported, index);
      const rows = inputs[0]?.shape[0] ?? 1;
      try {
        const answer = await served.run(
          Object.fromEntries(inputs.map(({ name, ...tensor }) => [name, tensor])),
        );
        difference = Math.max(difference, compareOutputs(outputs, answer, tolerance));
      } catch (error) {
        throw new MarlineError(
          'MODEL_INVALID',
          {
            reason: `${reasonOf(error)} This was run ${index + 1} of ${exported.cases.length}, with a batch of ${rows}.`,
            run: index,
          },
          { cause: error },
        );
      }
      batchSizes.push(rows);
    }
    return { inputs: served.inputs, outputs: served.outputs, batchSizes, difference };
  } finally {
    await served.close();
  }
}

/** What the engine says of a failed run is in its details, since clients are not told. */
function reasonOf(error: unknown): string {
  const reason = isMarlineError(error) ? error.details['reason'] : undefined;
  return typeof reason === 'string' ? reason : messageOf(error);
}
