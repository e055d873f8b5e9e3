import type { HttpResponse } from '../support/http-exchange.js';
import type { Recorded } from './recorded-server.js';

/**
 * Where a record needs a running Python worker, which this version does not have: `answer` is the answer of a handler (there
 * is nothing to compare), `start` says that workers were started (ours says why they are not).
 */
export type PythonNeed = 'answer' | 'start' | undefined;

/** Told by the record alone: by its route and by what TorchServe answered. */
export function pythonNeed({ request, response }: Recorded): PythonNeed {
  const { body } = response;
  const isPrediction = request.port === 'inference' && /^\/(predictions|explanations)\//.test(request.path);
  if (
    isPrediction &&
    !/"type": "(ModelNotFound|ModelVersionNotFound|ServiceUnavailable)Exception"/.test(body)
  )
    return 'answer';
  return /registered with [1-9]\d* initial workers"|"Workers scaled to [1-9]/.test(body)
    ? 'start'
    : undefined;
}

/** What two answers are compared by: the head as far as it is the same on every machine, and the body. */
export interface Comparable {
  readonly status: number;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * Leaves out of an answer what no two servers share: ids, dates, and, when TorchServe had workers, the workers and how many
 * there should be (Python workers do not start here, and a failed registration is left with none). The text of a `cause` is an
 * addition of ours to errors of workers.
 */
export function comparable(response: HttpResponse, recorded: HttpResponse): Comparable {
  const hadWorkers = /"workers": \[\n/.test(recorded.body);
  const headers = response.headers
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !['date', 'keep-alive', 'content-length'].includes(name))
    .map(([name, value]) => [name, name === 'x-request-id' ? 'some id' : value] as const);
  const body = hadWorkers ? withoutWorkers(response.body) : response.body;
  return {
    status: response.status,
    reason: response.reason,
    headers: Object.fromEntries(headers),
    body: body.replace(/,\n {2}"cause": "([^"\\]|\\.)*"(?=\n\}\n$)/, ''),
  };
}

function withoutWorkers(body: string): string {
  try {
    const descriptions = JSON.parse(body) as unknown;
    if (!Array.isArray(descriptions)) return body;
    const masked = descriptions.map((description: object) => ({
      ...description,
      minWorkers: 'any',
      maxWorkers: 'any',
      workers: 'of the machine',
    }));
    return `${JSON.stringify(masked, null, 2)}\n`;
  } catch {
    return body;
  }
}
