import { asData } from './comparison.js';
import { DIFFERENCES } from './differences.js';
import { JAVASCRIPT_DIFFERENCES } from './javascript-differences.js';
import { AS_RECORDED, lookup, type Comparison } from './replay.js';

/** Compares answers as data instead of text. */
export const AS_DATA: Comparison = {
  ...AS_RECORDED,
  read: asData,
  differenceAt: lookup([...DIFFERENCES, ...JAVASCRIPT_DIFFERENCES]),
};
