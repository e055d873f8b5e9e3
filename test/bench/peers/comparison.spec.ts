import { describe, expect, it } from 'vitest';
import { Comparison, cpuMs, median, perSecond, ratio } from './comparison.js';
import { MODELS } from './models.js';
import type { MeasureRecord } from './results.js';
import { aims, losses } from './verdicts.js';

const mlp = MODELS.find(({ name }) => name === 'mlp')!;

function measure(peer: string, given: Partial<MeasureRecord> = {}): MeasureRecord {
  const figures = { requests: 1000, seconds: 1, errors: 0, p50: 1, p99: 2, cpu: 1, others: 0, steal: 0 };
  return { type: 'measure', model: 'mlp', peer, round: 0, connections: 8, ...figures, ...given };
}

describe('Comparison', () => {
  it('divides CPU per request by R + F of the same round', () => {
    const comparison = new Comparison([
      ...[0, 1].flatMap((round) => [
        measure('R', { round, cpu: round === 0 ? 1 : 2 }),
        measure('F', { round, cpu: round === 0 ? 3 : 2 }),
      ]),
      measure('marline', { round: 0, cpu: 8 }),
      measure('marline', { round: 1, cpu: 6 }),
      measure('marline', { round: 2, cpu: 60 }),
    ]);

    expect([...comparison.multiple(mlp, 'marline')]).toEqual([
      [0, 2],
      [1, 1.5],
    ]);
  });

  it('leaves out a measurement with more than one failed request in a thousand, and says so', () => {
    const comparison = new Comparison([
      measure('fastapi', { round: 0, errors: 1 }),
      measure('fastapi', { round: 1, errors: 2 }),
    ]);

    expect([...comparison.series(mlp, 'fastapi', 8, perSecond).keys()]).toEqual([0]);
    expect(comparison.void).toMatchObject([{ peer: 'fastapi', round: 1 }]);
  });

  it('keeps numbers of connections apart, and counts a round that was measured again once', () => {
    const comparison = new Comparison([
      measure('marline', { connections: 1, cpu: 5 }),
      measure('marline', { cpu: 2 }),
      measure('marline', { cpu: 3 }),
    ]);

    expect([...comparison.series(mlp, 'marline', 8, cpuMs).values()]).toEqual([3]);
  });
});

describe('median', () => {
  it.each([
    [[3, 1, 2], 2],
    [[4, 1, 2, 3], 2.5],
    [[], Number.NaN],
  ])('of %j is %d', (values, middle) => {
    expect(median(values)).toBe(middle);
  });
});

describe('losses', () => {
  it('names each peer that is ahead, with the rounds in which it was, and no limit', () => {
    const comparison = new Comparison([
      measure('R', { cpu: 0.1 }),
      measure('F', { cpu: 0.1 }),
      ...[0, 1, 2].flatMap((round) => [
        measure('marline', { round, cpu: 2 }),
        measure('fastapi', { round, cpu: round === 0 ? 3 : 1 }),
        measure('torchserve', { round, cpu: 4 }),
      ]),
    ]);

    expect(losses(comparison)).toEqual([
      '- Tiny MLP, CPU per request: Marline 2.00 ms; FastAPI + ORT 1.00 ms, ahead in 2 of 3 rounds',
    ]);
  });

  it('is empty when Marline is ahead of all', () => {
    const comparison = new Comparison([
      measure('marline'),
      measure('fastapi', { cpu: 2, p99: 3, requests: 900 }),
    ]);

    expect(losses(comparison)).toEqual([]);
  });
});

describe('aims', () => {
  it('says which are met and which are missed', () => {
    const text = aims(
      new Comparison([
        measure('R', { cpu: 1 }),
        measure('F', { cpu: 1 }),
        measure('marline', { cpu: 3, requests: 3000 }),
        measure('fastapi', { requests: 1000 }),
        measure('torchserve', { requests: 500 }),
      ]),
    );

    expect(text).toContain('| Tiny MLP: CPU per request | ≤ 1.4 × (R + F) | 0.500 × (0.500–0.500) | met |');
    expect(text).toContain('÷ TorchServe | ≥ 8 | 6.00 × (6.00–6.00) | **missed** |');
    expect(text).toContain('÷ FastAPI | ≥ 2.5 | 3.00 × (3.00–3.00) | met |');
  });
});

describe('ratio', () => {
  it('forms ratios only within a round', () => {
    expect([...ratio(new Map([[0, 6]]), new Map([[1, 2]]))]).toEqual([]);
  });
});
