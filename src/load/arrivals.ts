/** How the requests of an open loop are spread over time; all have the same mean rate. */
export const ARRIVALS = ['constant', 'poisson', 'bursts'] as const;
export type Arrivals = (typeof ARRIVALS)[number];

/** Coefficient of variation of the gaps between bursty arrivals: 1 is Poisson, 0 is constant. */
const BURST_VARIATION = 3;

/**
 * The times at which requests are due, in milliseconds from 0, without end. `constant`: equal gaps. `poisson`: exponential
 * gaps, as from many independent clients. `bursts`: gaps of a gamma distribution with three times that spread: many
 * requests at once, then silence.
 * @param rate mean requests per second
 * @param random uniform in [0, 1)
 */
export function* arrivalTimes(
  arrivals: Arrivals,
  rate: number,
  random: () => number,
): Generator<number, never, undefined> {
  const meanMs = 1000 / rate;
  if (arrivals === 'constant') for (let count = 0; ; count++) yield count * meanMs;
  const shape = arrivals === 'poisson' ? 1 : 1 / BURST_VARIATION ** 2;
  for (let at = 0; ; at += (meanMs / shape) * gamma(shape, random)) yield at;
}

/** The same numbers for the same seed, so that every server meets the same arrivals (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A gamma variate of scale 1 (Marsaglia and Tsang 2000, with their step from shape + 1 for shapes up to 1). */
function gamma(shape: number, random: () => number): number {
  if (shape === 1) return -Math.log(1 - random());
  const boost = (1 - random()) ** (1 / shape);
  const d = shape + 1 - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal(random);
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - random()) < x ** 2 / 2 + d - d * v + d * Math.log(v)) return d * v * boost;
  }
}

/** A standard normal variate (Box and Muller). */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
