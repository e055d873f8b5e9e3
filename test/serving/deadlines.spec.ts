import { request as httpRequest } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { InferenceObserver, type MarlineError, type ModelRef, type RequestTimings } from '#libs/common';
import { serveApp, type ServedApp } from '../support/serve-app.js';

class Counting extends InferenceObserver {
  finished = 0;
  wasted = 0;
  readonly queued: string[] = [];
  readonly failed: string[] = [];
  #waiting: (() => void)[] = [];

  override requestQueued(_ref: ModelRef, id: string): void {
    this.queued.push(id);
    this.#tell();
  }

  override requestFinished(_ref: ModelRef, _id: string, _timings: RequestTimings): void {
    this.finished++;
  }

  override runWasted(): void {
    this.wasted++;
  }

  override requestFailed(_ref: ModelRef, _id: string, { code }: MarlineError): void {
    this.failed.push(code);
    this.#tell();
  }

  async until(met: (seen: this) => boolean): Promise<void> {
    while (!met(this)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #tell(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

let served: ServedApp;
afterEach(() => served.close());

async function serveSlow(): Promise<Counting> {
  const observer = new Counting();
  served = await serveApp({ models: ['slow'], options: { observer } });
  return observer;
}

const ask = (ms: number, waitsMs?: number) =>
  fetch(`${served.url}/predictions/slow`, {
    method: 'POST',
    body: String(ms),
    headers: waitsMs === undefined ? {} : { 'x-request-timeout-ms': String(waitsMs) },
  });

it('answers 504 when the time that the client gave is over, running or waiting, and serves on', async () => {
  const observer = await serveSlow();
  // Time enough for the run to begin on a machine that does much else: what has not begun in time is never run.
  const running = ask(1200, 600);
  await observer.until(({ queued }) => queued.length === 1);
  const waiting = ask(1, 60);
  expect([(await running).status, (await waiting).status]).toEqual([504, 504]);
  expect(observer.failed).toEqual(['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED']);
  expect((await ask(1, 60_000)).status).toBe(200);
  // The one that ran could not be stopped, and was for nobody; the one that waited was never run.
  expect(observer).toMatchObject({ finished: 1, wasted: 1 });
});

it('never runs a request whose client left while it waited', async () => {
  const observer = await serveSlow();
  const busy = ask(300);
  await observer.until(({ queued }) => queued.length === 1);
  const client = httpRequest(`${served.url}/predictions/slow`, { method: 'POST', agent: false });
  client.on('error', () => {}).end('60000');
  await observer.until(({ queued }) => queued.length === 2);
  client.destroy();
  await observer.until(({ failed }) => failed.length === 1);
  expect((await busy).status).toBe(200);
  expect((await ask(1)).status).toBe(200);
  expect(observer.failed).toEqual(['REQUEST_CANCELLED']);
  expect(observer.finished).toBe(2);
});
