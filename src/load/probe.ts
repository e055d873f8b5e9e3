import { MarlineError } from '#libs/common';
import { describeRefusal, explainFailure } from '../prediction-client.js';
import { Connection, type Outcome } from './connection.js';
import type { LoadTarget } from './load-target.js';

/** Enough of a refusal's body to tell what it says. */
const MAX_BODY_BYTES = 16 * 1024;

/**
 * Sends every request once: a load of requests that are refused measures nothing.
 * @throws MarlineError `PREDICTION_EXCEPTION` that tells in words what came instead of a 2xx answer
 */
export async function probe(target: LoadTarget, timeoutMs: number): Promise<void> {
  for (const request of target.requests) {
    const { outcome, body } = await ask(target, request, timeoutMs);
    if (outcome.kind === 'failure') throw failed(describeFailure(target.url, outcome));
    const { status } = outcome;
    if (status < 200 || status > 299)
      throw failed(`${target.url} answered ${printable(describeRefusal({ status, body }))}`);
  }
}

async function ask(
  { address }: LoadTarget,
  request: Buffer,
  timeoutMs: number,
): Promise<{ readonly outcome: Outcome; readonly body: Buffer }> {
  const parts: Buffer[] = [];
  let bytes = 0;
  const keep = (part: Buffer) => {
    if (bytes < MAX_BODY_BYTES) parts.push(Buffer.from(part));
    bytes += part.length;
  };
  const connection = new Connection(address, () => {}, keep);
  const outcome = await new Promise<Outcome>((resolve) => connection.exchange(request, timeoutMs, resolve));
  connection.destroy();
  return { outcome, body: Buffer.concat(parts) };
}

function describeFailure(url: string, { failure, detail }: Outcome & { kind: 'failure' }): string {
  switch (failure) {
    case 'connect':
      return explainFailure(url, { code: detail, message: detail });
    case 'not HTTP':
      return `The answer of ${url} is no HTTP: ${detail}. Check --url.`;
    case 'closed':
      return `${url} did not answer: the connection was closed before the answer was complete (${detail}).`;
    case 'time-out':
      return `${url} did not answer: ${detail}. A slower server needs a longer --timeout-ms.`;
  }
}

/** One short line without control characters: what a server says must not command the terminal. */
function printable(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\s]+/gu, ' ');
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

function failed(reason: string): MarlineError {
  return new MarlineError('PREDICTION_EXCEPTION', { reason });
}
