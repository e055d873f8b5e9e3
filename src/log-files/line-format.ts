import type { ModelRef } from '#libs/common';
import type { AccessEntry } from './access-log.js';

/** How grave a line of a worker is; `log` is what it wrote to its standard output. */
export type LineLevel = 'log' | 'warn' | 'error';

/** Takes whole lines. Each ends in a line feed and has no other. */
export interface LineTarget {
  write(line: string): void;
}

/** Writes lines of one look into the two files. */
export interface LineFormat {
  access(entry: AccessEntry): void;
  /** Something that a worker, or its handler, wrote. */
  model(ref: ModelRef, workerId: number, level: LineLevel, text: string): void;
}
