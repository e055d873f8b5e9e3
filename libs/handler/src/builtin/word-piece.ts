import { MarlineError } from '#libs/common';

/** How texts are made ready, as `tokenizer_config.json` says it; the defaults are those of BERT's uncased models. */
export interface WordPieceOptions {
  /** Lower case, and no accents unless `stripAccents` says otherwise. */
  readonly lowerCase: boolean;
  readonly stripAccents: boolean;
  /** Each ideograph is a word of its own. */
  readonly splitIdeographs: boolean;
}

/** Longer words are unknown: what a word costs grows with the square of its length. */
const MAX_WORD_LENGTH = 100;
/** Control characters but for tabs and line ends, formats, and what is no character at all. */
const NO_TEXT = /(?![\t\n\r])[\p{C}\ufffd]/gu;
const IDEOGRAPH =
  /[\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{f900}-\u{faff}\u{2f800}-\u{2fa1f}]/gu;
/** White space ends a word; punctuation, and every sign of ASCII, is a word of its own. */
const WORD = /[\p{P}!-/:-@[-`{-~]|[^\p{White_Space}\p{P}!-/:-@[-`{-~]+/gu;

/**
 * BERT's tokenizer: texts become words, words the longest pieces that a vocabulary has. Special tokens that are written in a
 * text are its text, so that nobody can end a text but its end.
 */
export class WordPiece {
  /** Id of the token that batches are filled with. */
  readonly padId: number;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #options: WordPieceOptions;
  readonly #unknownId: number;
  readonly #startId: number;
  readonly #endId: number;

  /**
   * @param vocabulary a token per line, whose number from 0 is its id; pieces within a word begin with `##`
   * @throws MarlineError `HANDLER_INVALID` when `[PAD]`, `[UNK]`, `[CLS]` or `[SEP]` is missing
   */
  constructor(vocabulary: string, options: WordPieceOptions) {
    const lines = vocabulary.split(/\r?\n/);
    this.#ids = new Map(lines.map((token, id) => [token, id]));
    this.#options = options;
    this.padId = this.#special('[PAD]');
    this.#unknownId = this.#special('[UNK]');
    this.#startId = this.#special('[CLS]');
    this.#endId = this.#special('[SEP]');
  }

  /**
   * The ids of a text, between those of `[CLS]` and `[SEP]`; what exceeds is cut off at its end.
   * @param maxLength most ids, 2 at least
   */
  encode(text: string, maxLength: number): number[] {
    const ids = [this.#startId];
    for (const [word] of this.#prepared(text).matchAll(WORD)) {
      // A long text is not taken apart beyond what fits.
      if (ids.length >= maxLength - 1) break;
      ids.push(...this.#pieces(word));
    }
    return [...ids.slice(0, maxLength - 1), this.#endId];
  }

  #prepared(text: string): string {
    const { lowerCase, stripAccents, splitIdeographs } = this.#options;
    let prepared = text.replace(NO_TEXT, '');
    if (splitIdeographs) prepared = prepared.replace(IDEOGRAPH, ' $& ');
    if (stripAccents) prepared = prepared.normalize('NFD').replace(/\p{Mn}/gu, '');
    // Character by character: a whole text would give a sigma at the end of a word another form.
    return lowerCase
      ? prepared.replace(/\p{Changes_When_Lowercased}/gu, (letter) => letter.toLowerCase())
      : prepared;
  }

  #pieces(word: string): readonly number[] {
    const letters = Array.from(word);
    if (letters.length > MAX_WORD_LENGTH) return [this.#unknownId];
    const ids: number[] = [];
    for (let start = 0; start < letters.length;) {
      let end = letters.length;
      let id: number | undefined;
      for (; end > start && id === undefined; end--)
        id = this.#ids.get(`${start > 0 ? '##' : ''}${letters.slice(start, end).join('')}`);
      if (id === undefined) return [this.#unknownId];
      ids.push(id);
      start = end + 1;
    }
    return ids;
  }

  #special(token: string): number {
    const id = this.#ids.get(token);
    if (id !== undefined) return id;
    throw new MarlineError('HANDLER_INVALID', {
      reason: `vocab.txt lacks the token ${token}: it must be the vocabulary of a WordPiece tokenizer, a token per line.`,
    });
  }
}
