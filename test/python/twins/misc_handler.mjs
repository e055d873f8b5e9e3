import { setTimeout } from 'node:timers/promises';
import { BaseHandler, PredictionException } from 'marline/handler';

/** What misc_handler.py of TorchServe's recordings does, in JavaScript. */
export default class MiscHandler extends BaseHandler {
  async handle(requests, context) {
    if (context.getRequestHeader(0, 'describe') === 'True') return [{ described: context.modelName }];
    const ops = requests.map(({ body, data }) => operationOf(body ?? data));
    const [{ op = 'dict', message, code }] = ops;
    if (op === 'raise') throw new Error('a message that must not leak');
    if (op === 'memory') throw new RangeError('Array buffer allocation failed');
    if (op === 'cuda') throw new Error('CUDA error: out of memory');
    if (op === 'pexc') throw new PredictionException(message ?? 'custom prediction error', code);
    if (op === 'exit') process.exit(3);
    if (op === 'short') return [];
    if (op === 'long') return [...requests.map(() => 'a'), 'a'];
    if (op === 'notalist') return { not: 'a list' };
    const answers = [];
    for (const [index, request] of ops.entries())
      answers.push(await this.#answer(request, index, requests, context));
    return answers;
  }

  async #answer(request, index, requests, context) {
    const { op = 'dict', sleep = 0, status, phrase, contentType, headers = {} } = request;
    await setTimeout(sleep * 1000);
    if (status !== undefined) context.setResponseStatus(status, phrase ?? '', index);
    if (contentType !== undefined) context.setResponseContentType(index, contentType);
    for (const [name, value] of Object.entries(headers)) context.setResponseHeader(index, name, value);
    switch (op) {
      case 'value':
        return request.value;
      case 'bytes':
        return Uint8Array.from({ length: 256 }, (_, byte) => byte);
      case 'str':
        return request.value ?? 'plain text \u00fc\u20ac';
      case 'big':
        return 'x'.repeat(request.n);
      case 'nan':
        return { nan: NaN, inf: Infinity };
      case 'unserializable':
        return { a: new Set([1, 2]) };
      case 'stream':
        for (let part = 0; part < (request.n ?? 3); part += 1)
          await context.sendIntermediateResponse(index, `part${part} `);
        return request.last ?? 'end';
      case 'metrics':
        return measured(request, context.metrics);
      default:
        return { op, batch: requests.length, index };
    }
  }
}

function measured({ errorText }, metrics) {
  metrics.addCounter('LabCounter', 2);
  metrics.addTime('LabTime', 12.5);
  metrics.addSize('LabSize', 3);
  metrics.addPercent('LabPercent', 55.5);
  metrics.addError('LabError', 1);
  if (errorText) metrics.addError('LabErrorText', 'something');
  return 'ok';
}

/** What a request asks for: JSON of any content type, and the default for all that is no object. */
function operationOf(value) {
  const given = value instanceof Uint8Array ? new TextDecoder().decode(value) || '{}' : value;
  const operation = typeof given === 'string' ? JSON.parse(given) : given;
  return typeof operation === 'object' && !Array.isArray(operation) ? (operation ?? {}) : {};
}
