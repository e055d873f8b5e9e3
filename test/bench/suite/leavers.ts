import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request, type ClientRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counts } from '../gateway-server.js';
import type { Body } from './archives.js';
import type { Child } from './child.js';

/** So that runs of a load before are over. */
const REST_MS = 500;
const PATIENCE_MS = 60_000;

/** What became of requests of which half were given up while they waited. */
export interface Departure {
  readonly left: number;
  readonly answered: number;
  /** Runs of the model, as its handler counted them. */
  readonly runs: number;
}

/**
 * Sends `count` requests at once, each on a connection of its own, and when all have reached the queue closes every second of
 * those that have no answer yet. @throws Error when one of the others gets no good answer
 */
export async function leaveEarly(gateway: Child, url: string, body: Body, count: number): Promise<Departure> {
  await sleep(REST_MS);
  const before = await gateway.ask<Counts>('counts');
  const sent = Array.from({ length: count }, () => new Client(url, body));
  const counts = () => gateway.ask<Counts>('counts');
  await until(counts, ({ queued }) => queued - before.queued === count);
  const leavers = sent.filter(({ answered }) => !answered).filter((_, index) => index % 2 === 1);
  for (const client of leavers) client.leave();
  const stayed = sent.filter((client) => !leavers.includes(client));
  await Promise.all(stayed.map(({ done }) => done));
  const { runs } = await until(counts, (now) => settled(now) - settled(before) === count);
  return { left: leavers.length, answered: stayed.length, runs: runs - before.runs };
}

const settled = ({ finished, failed }: Counts) => finished + failed;

class Client {
  readonly done: Promise<void>;
  answered = false;
  readonly #request: ClientRequest;

  constructor(url: string, { file, headers }: Body) {
    this.#request = request(url, { method: 'POST', agent: false, headers });
    this.done = this.#answer();
    // A client that leaves fails; that is what it is for.
    this.done.catch(() => {});
    this.#request.end(readFileSync(file));
  }

  leave(): void {
    this.#request.destroy();
  }

  async #answer(): Promise<void> {
    const [response] = await once(this.#request, 'response');
    this.answered = true;
    response.resume();
    await once(response, 'end');
    if (response.statusCode !== 200)
      throw new Error(`A client that stayed was answered ${response.statusCode}.`);
  }
}

async function until(read: () => Promise<Counts>, reached: (counts: Counts) => boolean): Promise<Counts> {
  const endAt = performance.now() + PATIENCE_MS;
  for (let counts = await read(); ; counts = await read()) {
    if (reached(counts)) return counts;
    if (performance.now() > endAt)
      throw new Error(`The gateway did not come to rest: ${JSON.stringify(counts)}.`);
    await sleep(5);
  }
}
