import { describe, expect, it } from 'vitest';
import { DIFFERENCES } from './differences.js';
import { AS_DATA, twinRunsOf } from './javascript-comparison.js';
import { JAVASCRIPT_DIFFERENCES } from './javascript-differences.js';
import { RECORD_FILES, idOf, runsOf } from './replay.js';

const ids = RECORD_FILES.flatMap((file) => [...runsOf(file).values()].flat()).map(idOf);
const ofTwins = RECORD_FILES.flatMap((file) => [...twinRunsOf(file).values()].flat())
  .filter((record) => AS_DATA.isCompared(record))
  .map(idOf);

describe('the tables of differences', () => {
  it('name every record once, and only records that are replayed', () => {
    const listed = DIFFERENCES.flatMap(({ records }) => records);
    const listedOfTwins = JAVASCRIPT_DIFFERENCES.flatMap(({ records }) => records);
    expect(new Set([...listed, ...listedOfTwins]).size).toBe(listed.length + listedOfTwins.length);
    expect(listed.filter((id) => !ids.includes(id))).toEqual([]);
    expect(listedOfTwins.filter((id) => !ofTwins.includes(id))).toEqual([]);
  });
});

describe('the records', () => {
  it('have unique names within a run', () => {
    expect(new Set(ids).size).toBe(ids.length);
  });
});
