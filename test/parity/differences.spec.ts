import { describe, expect, it } from 'vitest';
import { DIFFERENCES } from './differences.js';
import { JAVASCRIPT_DIFFERENCES } from './javascript-differences.js';
import { RECORD_FILES, idOf, runsOf } from './replay.js';

const ids = RECORD_FILES.flatMap((file) => [...runsOf(file).values()].flat()).map(idOf);

describe('the tables of differences', () => {
  it('name every record once, and only records that are replayed', () => {
    const listed = [...DIFFERENCES, ...JAVASCRIPT_DIFFERENCES].flatMap(({ records }) => records);
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed.filter((id) => !ids.includes(id))).toEqual([]);
  });
});

describe('the records', () => {
  it('have unique names within a run', () => {
    expect(new Set(ids).size).toBe(ids.length);
  });
});
