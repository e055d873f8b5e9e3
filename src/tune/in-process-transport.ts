import { MarlineError, messageOf, type RawInput, type Tensor, type TensorInput } from '#libs/common';
import { sampleInputs, type ModelRegistry } from '#libs/inference';
import type { Outcome } from '../load/connection.js';
import type { Transport } from '../load/http-transport.js';
import type { MeasurementOrder } from './measurement.js';

type Runtime = ReturnType<ModelRegistry['get']>;
type Input = RawInput | TensorInput;

/** Calls a model in process, without HTTP. */
export class InProcessTransport implements Transport {
  #requests = 0;
  /** What went wrong first. */
  failure: unknown;

  constructor(
    private readonly runtime: Runtime,
    private readonly input: () => Input,
  ) {}

  /** Calls so far. */
  get requests(): number {
    return this.#requests;
  }

  send(done: (outcome: Outcome) => void): boolean {
    void this.#call(done);
    return true;
  }

  async #call(done: (outcome: Outcome) => void): Promise<void> {
    let outcome: Outcome = { kind: 'answer', status: 200 };
    try {
      await this.ask();
    } catch (error) {
      this.failure ??= error;
      outcome = { kind: 'failure', failure: 'closed', detail: messageOf(error) };
    }
    done(outcome);
  }

  /** One call to its end. @throws MarlineError what went wrong, also when the handler answers with a status from 400 up */
  async ask(): Promise<void> {
    const answer = await this.runtime.predict({ id: `tune-${this.#requests++}`, input: this.input() });
    const { status, reason } = answer.streaming ? answer.first : answer.result;
    if (answer.streaming) for await (const _part of answer.rest);
    if (status >= 400)
      throw new MarlineError('PREDICTION_EXCEPTION', {
        reason: `The model answered ${status} ${reason}`,
        status,
      });
  }
}

/**
 * Makes the input of each call: the bytes of a file as the body, or tensors that fit the model. A call owns its input.
 * @throws MarlineError `INVALID_INPUT` when neither is there
 */
export function inputMaker(runtime: Runtime, { input }: MeasurementOrder): () => Input {
  if (input !== undefined) {
    const { body, contentType } = input;
    return () => ({
      kind: 'raw',
      headers: '',
      parameters: [{ name: 'body', contentType, value: Uint8Array.from(body) }],
    });
  }
  const [tensors] = sampleInputs(runtime.metadata.inputs);
  if (tensors === undefined || Object.keys(tensors).length === 0) {
    throw new MarlineError('INVALID_INPUT', {
      reason: 'No input can be made up for this archive: give a request that it answers with --input FILE.',
    });
  }
  return () => ({
    kind: 'tensors',
    tensors: Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, copyOf(tensor)])),
  });
}

function copyOf(tensor: Tensor): Tensor {
  return { ...tensor, data: tensor.data.slice() };
}
