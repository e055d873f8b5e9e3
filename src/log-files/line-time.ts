/** Writes the time of a line, all but its milliseconds once a second: that is most of what a line costs otherwise. */
export class LineTime {
  #second = -1;
  #prefix = '';

  /** @param prefixOf all before the milliseconds, of a time in milliseconds since 1970 */
  constructor(private readonly prefixOf: (ms: number) => string) {}

  /** The time of now, to the millisecond. */
  now(): string {
    const now = Date.now();
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#prefix = this.prefixOf(now);
    }
    return this.#prefix + String(now % 1000).padStart(3, '0');
  }
}

/** @returns `2026-11-22T16:32:55.`, in UTC */
export function utcPrefix(ms: number): string {
  return new Date(ms).toISOString().slice(0, 20);
}

/** @returns `2026-11-22T16:32:55,`, in local time, as log4j writes it */
export function localPrefix(ms: number): string {
  const local = ms - new Date(ms).getTimezoneOffset() * 60_000;
  return utcPrefix(local).replace('.', ',');
}
