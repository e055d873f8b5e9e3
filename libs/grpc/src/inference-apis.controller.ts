import type { ServerDuplexStream, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { Controller } from '@nestjs/common';
import { GrpcMethod, GrpcStreamCall } from '@nestjs/microservices';
import { EMPTY, type Observable } from 'rxjs';
import { MarlineError, toMarlineError, type RawInput } from '#libs/common';
import { ModelRegistry, bodyOf, type PredictionAnswer, type SequenceHeaders } from '#libs/inference';
import type { GrpcCall } from './grpc-call.js';
import { GrpcPredictor } from './grpc-predictor.js';
import { GrpcRoutes } from './grpc-routes.js';
import { inBandStatus, type InBandStatus } from './in-band-status.js';
import { MessageWriter, requestsOf } from './message-stream.js';
import { rawInputOf, sequenceInputOf, type PredictionsRequest } from './predictions-request.js';

interface PredictionResponse {
  readonly prediction?: Buffer;
  readonly status?: InBandStatus;
}

/** A handler may stream for ever, and Predictions has one message for all of it. */
const MAX_JOINED_BYTES = 64 * 1024 * 1024;
const SERVICE = 'org.pytorch.serve.grpc.inference.InferenceAPIsService';

/** TorchServe's inference service: what `/ping` and `/predictions` are over HTTP. */
@Controller()
@GrpcRoutes('inference')
export class InferenceApisController {
  constructor(
    private readonly registry: ModelRegistry,
    private readonly predictor: GrpcPredictor,
  ) {}

  /** Always OK; whether the server is healthy stands in the text. */
  @GrpcMethod(SERVICE, 'Ping')
  ping(): { readonly health: string } {
    const status = this.registry.healthy ? 'Healthy' : 'Unhealthy';
    return { health: JSON.stringify({ status }, null, 2) };
  }

  /** One request, one answer; of a handler that streams, all its parts joined. */
  @GrpcMethod(SERVICE, 'Predictions')
  async predictions(
    request: PredictionsRequest,
    _metadata: unknown,
    call: ServerUnaryCall<PredictionsRequest, PredictionResponse>,
  ): Promise<PredictionResponse> {
    return { prediction: await wholeBody(await this.#predict(request, rawInputOf, call)) };
  }

  /** A message for each part of the answer, no faster than the client reads them. */
  @GrpcMethod(SERVICE, 'StreamPredictions')
  async streamPredictions(
    request: PredictionsRequest,
    _metadata: unknown,
    call: ServerWritableStream<PredictionsRequest, PredictionResponse>,
  ): Promise<Observable<never>> {
    const writer = new MessageWriter(call);
    for await (const prediction of bodiesOf(await this.#predict(request, rawInputOf, call)))
      await writer.write({ prediction });
    // Nest ends the call with what it gets: nothing more.
    return EMPTY;
  }

  /** The requests of sequences, answered one by one and in order; one that fails has its error in the answer. */
  @GrpcStreamCall(SERVICE, 'StreamPredictions2')
  async streamPredictions2(call: ServerDuplexStream<PredictionsRequest, PredictionResponse>): Promise<void> {
    const writer = new MessageWriter(call);
    for await (const request of requestsOf(call)) {
      for await (const response of this.#answerInSequence(request, call)) await writer.write(response);
    }
    call.end();
  }

  async *#answerInSequence(request: PredictionsRequest, call: GrpcCall): AsyncGenerator<PredictionResponse> {
    try {
      if (!request.sequence_id)
        throw new MarlineError('BAD_REQUEST', { reason: 'Parameter sequenceId is required.' });
      const answer = await this.#predict(request, sequenceInputOf, call);
      for await (const prediction of bodiesOf(answer)) yield { prediction };
    } catch (thrown) {
      const error = toMarlineError(thrown);
      if (error.code === 'REQUEST_CANCELLED') throw error;
      yield { status: inBandStatus(error) };
    }
  }

  #predict(
    request: PredictionsRequest,
    inputOf: (request: PredictionsRequest, headers: SequenceHeaders) => RawInput,
    call: GrpcCall,
  ): Promise<PredictionAnswer> {
    const target = {
      model: request.model_name,
      version: request.model_version,
      sequence: request.sequence_id,
    };
    const runtime = this.predictor.route(target, 'model_name');
    // The requests of a stream may go to different versions, and a call has metadata once.
    if (inputOf !== sequenceInputOf) this.predictor.tellVersion(target, runtime, call);
    return this.predictor.predict(target, runtime, inputOf(request, runtime.sequenceHeaders), call);
  }
}

async function* bodiesOf(answer: PredictionAnswer): AsyncGenerator<Buffer> {
  if (!answer.streaming) {
    yield Buffer.from(bodyOf(answer.result.output));
    return;
  }
  yield Buffer.from(bodyOf(answer.first.output));
  for await (const { output } of answer.rest) yield Buffer.from(bodyOf(output));
}

/** @throws MarlineError `INVALID_OUTPUT` for a stream that is too long to be joined */
async function wholeBody(answer: PredictionAnswer): Promise<Buffer> {
  const bodies: Buffer[] = [];
  let bytes = 0;
  for await (const body of bodiesOf(answer)) {
    bodies.push(body);
    bytes += body.length;
    if (answer.streaming && bytes > MAX_JOINED_BYTES) {
      const cause = new Error(
        `The parts of the answer are more than ${MAX_JOINED_BYTES} bytes; call StreamPredictions.`,
      );
      throw new MarlineError('INVALID_OUTPUT', {}, { cause });
    }
  }
  return bodies.length === 1 ? (bodies[0] as Buffer) : Buffer.concat(bodies);
}
