import { describe, expect, it } from 'vitest';
import { BatchSizer } from './batch-sizer.js';

/** The size after `runs` full batches of a model whose run of n items takes `durationOf(n)`. */
function learn(durationOf: (items: number) => number, runs = 500, most = 64, sizer = new BatchSizer()) {
  for (let run = 0; run < runs; run++) {
    const items = sizer.limit(most);
    sizer.observe(items, durationOf(items));
  }
  return sizer;
}

describe('BatchSizer', () => {
  it('starts with single items, then tries two', () => {
    expect(new BatchSizer().limit(64)).toBe(1);
    expect(learn((items) => items, 5).limit(64)).toBe(2);
    expect(learn((items) => items, 5).limit(1)).toBe(1);
  });

  it('climbs as far as a larger batch costs clearly less per item', () => {
    expect(learn((items) => 10 + items).limit(64)).toBe(64);
    expect(learn((items) => 10 + items).limit(48)).toBe(48);
    expect(learn((items) => (items <= 8 ? 10 + items : 3 * items)).limit(64)).toBe(8);
  });

  it.each([
    ['as much', (items: number) => 3 * items],
    ['hardly less', (items: number) => 3 * items + 0.1],
    ['more', (items: number) => 3 * items ** 1.1],
  ])('stays at 1 when two items cost %s', (_, durationOf) => {
    expect(learn(durationOf).limit(64)).toBe(1);
  });

  it('tries a larger size again after a while, and keeps it when it pays now', () => {
    const sizer = learn((items) => 3 * items);
    expect(learn((items) => 10 + items, 3000, 64, sizer).limit(64)).toBe(64);
  });

  it('is not misled by a first run that was slow', () => {
    const sizer = new BatchSizer();
    sizer.observe(1, 6);
    expect(learn((items) => 3.3 * items, 500, 64, sizer).limit(64)).toBe(1);
  });

  it('tries a smaller size again after a while, and keeps it when the larger one pays no more', () => {
    const sizer = learn((items) => 10 + items, 100);
    expect(sizer.limit(64)).toBe(64);
    const sizes = new Set<number>();
    for (let run = 0; run < 8000; run++) {
      const items = sizer.limit(64);
      sizes.add(items);
      sizer.observe(items, 3 * items ** 1.1);
    }
    expect(sizer.limit(64)).toBeLessThanOrEqual(2);
    expect(sizes).toContain(8);
  });

  it('keeps a size that pays, whatever was tried beside it', () => {
    const sizer = learn((items) => (items <= 8 ? 10 + items : 3 * items), 20_000);
    const sizes = Array.from({ length: 1000 }, () => {
      const items = sizer.limit(64);
      sizer.observe(items, items <= 8 ? 10 + items : 3 * items);
      return items;
    });
    expect(sizes.filter((items) => items === 8).length).toBeGreaterThan(980);
  });

  it('steps down when small batches have become as cheap', () => {
    const sizer = learn((items) => 10 + items);
    for (let run = 0; run < 200; run++) for (const items of [1, 2, 4, 8, 16, 32]) sizer.observe(items, items);
    for (let run = 0; run < 1200; run++)
      for (const items of [1, 2, 4, 8, 16, 32]) sizer.observe(items, items);
    expect(sizer.limit(64)).toBeLessThanOrEqual(2);
  });
});
