import { randomUUID } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import { Injectable } from '@nestjs/common';
import { MarlineError, toMarlineError } from '#libs/common';
import {
  ModelRegistry,
  VERSION_HEADER,
  withAskedVersion,
  type ModelRuntime,
  type PredictionAnswer,
  type PredictionRequest,
} from '#libs/inference';
import { tellAsked } from './call-follower.js';
import { boundsOf, type GrpcCall } from './grpc-call.js';

/** What a call asks for. Protobuf knows no missing text: an empty one is. */
export interface GrpcTarget {
  readonly model: string;
  /** The default version when empty. */
  readonly version: string;
  /** The sequence that a request belongs to. */
  readonly sequence?: string;
}

/** Carries a call into the registry, with the deadline of its client, who cancels its request by leaving. */
@Injectable()
export class GrpcPredictor {
  constructor(private readonly registry: ModelRegistry) {}

  /**
   * The version that a call asks for.
   * @param field the name of the request's field, for the error
   * @throws MarlineError `BAD_REQUEST` without a name, `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND`
   */
  runtime({ model, version }: GrpcTarget, field: string): ModelRuntime {
    assertName(model, field);
    return this.registry.get(model, version === '' ? undefined : version);
  }

  /** The same for a call that is answered by the model: where its requests are split, the version whose turn it is. */
  route({ model, version, sequence }: GrpcTarget, field: string): ModelRuntime {
    assertName(model, field);
    return this.registry.route(model, version === '' ? undefined : version, sequence);
  }

  /** Tells the client of a call with one answer which version it comes from, where the client left that open. */
  tellVersion({ model, version }: GrpcTarget, runtime: ModelRuntime, call: GrpcCall): void {
    if (version !== '' || !this.registry.isSplit(model)) return;
    const metadata = new Metadata();
    metadata.set(VERSION_HEADER, runtime.version);
    call.sendMetadata(metadata);
  }

  /** The model's answer. Rejects with a MarlineError. */
  async predict(
    target: GrpcTarget,
    runtime: ModelRuntime,
    input: PredictionRequest['input'],
    call: GrpcCall,
  ): Promise<PredictionAnswer> {
    try {
      const bounds = boundsOf(call, runtime.settings.clientTimeoutInMills);
      const id = randomUUID();
      tellAsked(call, id);
      return await runtime.predict({ id, input, ...bounds });
    } catch (error) {
      const asked = { model: target.model, version: target.version === '' ? undefined : target.version };
      throw toMarlineError(withAskedVersion(error, asked));
    }
  }
}

function assertName(model: string, field: string): void {
  if (model === '') throw new MarlineError('BAD_REQUEST', { reason: `Parameter ${field} is required.` });
}
