/** The time of TorchServe's lines, in local time. All but its milliseconds is made once a second: that is most of what a line costs otherwise. */
export class LineTime {
  #second = -1;
  #prefix = '';

  /** @returns `2026-11-22T16:32:55,136` */
  at(ms: number): string {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      const local = ms - new Date(ms).getTimezoneOffset() * 60_000;
      this.#prefix = new Date(local).toISOString().slice(0, 19);
    }
    return `${this.#prefix},${String(ms % 1000).padStart(3, '0')}`;
  }
}
