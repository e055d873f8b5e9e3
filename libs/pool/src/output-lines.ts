import { StringDecoder } from 'node:string_decoder';

/** Longest line that is passed on; a tensor that a handler prints has no end. */
const MAX_LINE_LENGTH = 8192;

/** Cuts what a process prints into lines. No more than one line is kept, and of that no more than its first 8,192 characters. */
export class OutputLines {
  readonly #decoder = new StringDecoder('utf8');
  readonly #line: (text: string) => void;
  #begun = '';
  #left = 0;

  /** @param line is called for every line that is not empty, without its end */
  constructor(line: (text: string) => void) {
    this.#line = line;
  }

  push(chunk: Buffer): void {
    const text = this.#decoder.write(chunk);
    let start = 0;
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      this.#keep(text, start, end);
      this.#tell();
      start = end + 1;
    }
    this.#keep(text, start, text.length);
  }

  /** The output is over: what has no end of line is a line too. */
  end(): void {
    this.#tell();
  }

  #keep(text: string, start: number, end: number): void {
    const room = MAX_LINE_LENGTH - this.#begun.length;
    this.#begun += text.slice(start, Math.min(end, start + room));
    this.#left += Math.max(0, end - start - room);
  }

  #tell(): void {
    const text = this.#begun.trimEnd();
    const left = this.#left;
    this.#begun = '';
    this.#left = 0;
    if (text !== '') this.#line(left === 0 ? text : `${text} … and ${left} characters more`);
  }
}
