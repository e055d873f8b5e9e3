import { existsSync, readFileSync } from 'node:fs';

type KeyFile = Readonly<Record<string, { readonly key: string }>>;

/** Keys that stand in the records as they were: a client that writes a key in a wrong way. */
const LITERAL_KEYS = { '1fzeD1m1': 'inference', 'ajxmT-h9': 'management' } as const;

/** What stands in the records for the keys of the server that was recorded: `${KEY:…}`, and `${OLDKEY:…}` before a renewal. */
export class KeyPlaceholders {
  #now: KeyFile = {};
  #before: KeyFile = {};

  /** @param file the key file of the server; none is there without tokens */
  constructor(private readonly file: string) {}

  /** The text of a recorded field with the keys of our server. */
  fill(text: string): string {
    this.#read();
    let filled = text;
    for (const [name, { key }] of Object.entries(this.#now))
      filled = filled.replaceAll(`\${KEY:${name}}`, key);
    for (const [name, { key }] of Object.entries(this.#before))
      filled = filled.replaceAll(`\${OLDKEY:${name}}`, key);
    for (const [literal, name] of Object.entries(LITERAL_KEYS))
      filled = filled.replaceAll(literal, this.#now[name]?.key ?? literal);
    return filled;
  }

  #read(): void {
    const read = existsSync(this.file) ? (JSON.parse(readFileSync(this.file, 'utf8')) as KeyFile) : {};
    if (JSON.stringify(read) === JSON.stringify(this.#now)) return;
    this.#before = this.#now;
    this.#now = read;
  }
}
