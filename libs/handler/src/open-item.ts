import { MarlineError, isMarlineError, messageOf } from '#libs/common';
import type { RequestValue } from './base-handler.js';
import { envelopeOf, type Opened } from './envelope.js';
import type { HandlerItem, HandlerSetup } from './handler-context.js';
import { decodeRequest, headerRecord } from './request-decoding.js';

/** An item as its handler gets it. */
export interface Letter {
  readonly item: HandlerItem;
  /** One request; several when an envelope held them. */
  readonly data: readonly RequestValue[];
  /** Makes one answer of those to `data`; left out without an envelope. */
  readonly close?: Opened['close'];
  /** Why the envelope could not be opened. */
  readonly error?: MarlineError;
}

/** Takes an item out of the service envelope, where there is one: around requests over the wire, but not around tensors. */
export function openItem(item: HandlerItem, setup: HandlerSetup): Letter {
  const { input } = item;
  if (input.kind === 'value') return { item, data: [{ body: input.value as RequestValue }] };
  if (input.kind !== 'raw') return { item, data: [null] };
  const request = decodeRequest(input, setup.decodeInputRequest);
  const headers = headerRecord(input.headers);
  // Asked to describe its model, a handler has no request to open.
  const envelope = headers['describe'] === 'True' ? undefined : envelopeOf(setup.envelope ?? '');
  if (envelope === undefined) return { item, data: [request] };
  const { model } = setup.manifest;
  try {
    const opened = envelope(request, {
      requestId: item.id,
      explains: headers['explain'] === 'True',
      modelName: model.modelName ?? setup.modelName,
      modelVersion: model.modelVersion ?? setup.modelVersion,
    });
    return { item, ...opened };
  } catch (error) {
    return { item, data: [null], error: unopened(error) };
  }
}

/** What does not fit its envelope fails as in TorchServe, and its caller is told why. */
function unopened(error: unknown): MarlineError {
  if (isMarlineError(error) && error.code !== 'INVALID_INPUT') return error;
  return new MarlineError('PREDICTION_FAILED', { cause: messageOf(error) }, { cause: error });
}
