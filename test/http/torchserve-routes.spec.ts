import { afterEach, describe, expect, it } from 'vitest';
import type { RawInput } from '#libs/common';
import type { PredictionRequest } from '#libs/inference';
import { answer, edgeApp, parametersOf, type EdgeApp, type EdgeOptions } from './edge-app.js';

let edge: EdgeApp;
afterEach(() => edge.close());

/** Serves the model `m`, which keeps what it was asked. */
async function serve(options: EdgeOptions = {}): Promise<PredictionRequest[]> {
  const requests: PredictionRequest[] = [];
  const predict = (request: PredictionRequest) =>
    Promise.resolve(answer('ok')).finally(() => requests.push(request));
  edge = await edgeApp({ predict, ...options });
  return requests;
}

const post = (path: string, body: BodyInit = 'x', headers: Record<string, string> = {}) =>
  fetch(edge.url + path, { method: 'POST', body, headers: { 'content-type': 'text/plain', ...headers } });
const headersOf = (request: PredictionRequest) => (request.input as RawInput).headers.split('\n');

describe('/invocations and /models/{model}/invoke', () => {
  it.each(['/invocations?model_name=m&p=1;p=2&body=q', '/models/m/invoke?model_name=m&p=2&body=q'])(
    'give the handler the query before the body: %s',
    async (path) => {
      const requests = await serve();
      expect((await post(path)).status).toBe(200);
      expect(requests.map(parametersOf)).toEqual([{ model_name: 'm', p: '2', body: 'x' }]);
      expect(headersOf(requests[0] as PredictionRequest)).not.toContain('url_path');
      expect(headersOf(requests[0] as PredictionRequest)).not.toContain('explain');
    },
  );

  it('ask the only model of the start-up list when no name is given', async () => {
    const requests = await serve();
    expect((await post('/invocations')).status).toBe(200);
    expect(requests).toHaveLength(1);
  });

  it('find the name in a form when there is no other, and give the handler the whole form', async () => {
    const requests = await serve({ startup: ['m', 'other'] });
    const form = new URLSearchParams({ model_name: 'm', data: 'abc' });
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await post('/invocations', form, type)).status).toBe(200);
    expect(requests.map(parametersOf)).toEqual([{ model_name: 'm', data: 'abc' }]);
  });

  it.each([
    ['/invocations', 400, 'Parameter model_name is required.'],
    ['/invocations?model_name=', 404, 'Model not found: '],
    ['/invocations?model_name=nosuch', 404, 'Model not found: nosuch'],
    ['/models/nosuch/invoke', 404, 'Model not found: nosuch'],
  ])('refuse %s with %i', async (path, status, message) => {
    const requests = await serve({ startup: [] });
    const response = await post(path);
    expect([response.status, await response.json()]).toMatchObject([status, { message }]);
    expect(requests).toEqual([]);
  });

  it('refuse a body above the limit, also while they look for a name in it', async () => {
    await serve({ startup: [], maxRequestSize: 10 });
    expect((await post('/invocations', 'x'.repeat(11))).status).toBe(413);
    expect((await post('/models/m/invoke', 'x'.repeat(11))).status).toBe(413);
  });
});

describe("TorchServe's oldest routes", () => {
  it.each([
    ['/m/predict', '1.0'],
    ['/m/2.0/predict', '2.0'],
  ])('ask the version in the path: %s', async (path, version) => {
    edge = await edgeApp();
    expect(await (await post(path)).text()).toBe(version);
  });
});

describe("KServe's routes", () => {
  it.each([
    ['/v1/models/m:predict', 'False'],
    ['/v1/models/m:explain', 'True'],
    ['/v1/models/m%3Apredict', 'False'],
    ['/v2/models/m/explain', 'True'],
  ])('give the handler the body as it is: %s', async (path, explain) => {
    const requests = await serve();
    const response = await post(path, '{"instances": [1]}', { 'content-type': 'application/json' });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, null]);
    expect(requests.map(parametersOf)).toEqual([{ body: '{"instances": [1]}' }]);
    const headers = headersOf(requests[0] as PredictionRequest);
    expect(headers[headers.indexOf('explain') + 1]).toBe(explain);
    expect(headers).not.toContain('url_path');
  });

  it.each(['/v1/models/m', '/v1/models/m:other', '/v1/models/m/versions/1:predict'])(
    'are not %s',
    async (path) => {
      await serve();
      expect((await post(path)).status).toBe(404);
    },
  );
});
