import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MarlineError } from '#libs/common';
import { WordPiece } from './word-piece.js';

/** A tokenizer, and the most tokens that its model was made for. */
export interface Tokenizer {
  readonly wordPiece: WordPiece;
  readonly maxLength: number;
}

const VOCABULARY = 'vocab.txt';
const CONFIG = 'tokenizer_config.json';
/** The positions of BERT; a configuration that knows no limit says a number with thirty digits. */
const MOST_TOKENS = 512;
const LEAST_TOKENS = 3;

/**
 * Reads `vocab.txt` and, where it is there, `tokenizer_config.json`: `do_lower_case` (true), `strip_accents` (as lower case),
 * `tokenize_chinese_chars` (true), `model_max_length` (at most, and without it, 512).
 * @throws MarlineError `HANDLER_INVALID` that says which file is wrong and how
 */
export async function readTokenizer(modelDir: string): Promise<Tokenizer> {
  const vocabulary = await readText(modelDir, VOCABULARY);
  if (vocabulary === undefined) {
    throw invalid(
      `text_classifier needs the vocabulary of a WordPiece tokenizer in the file ${VOCABULARY}, a token per line: pack it with --extra-files. ` +
        'The source_vocab.pt of PyTorch archives is a Python pickle and is not read.',
    );
  }
  const config = parseConfig(await readText(modelDir, CONFIG));
  const lowerCase = flag(config, 'do_lower_case') ?? true;
  const wordPiece = new WordPiece(vocabulary, {
    lowerCase,
    stripAccents: flag(config, 'strip_accents') ?? lowerCase,
    splitIdeographs: flag(config, 'tokenize_chinese_chars') ?? true,
  });
  return { wordPiece, maxLength: lengthOf(config['model_max_length']) };
}

async function readText(modelDir: string, file: string): Promise<string | undefined> {
  try {
    return await readFile(join(modelDir, file), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw invalid(`${file} cannot be read.`, cause);
  }
}

function parseConfig(text: string | undefined): Readonly<Record<string, unknown>> {
  let config: unknown;
  try {
    config = JSON.parse(text ?? '{}');
  } catch (cause) {
    throw invalid(`${CONFIG} is not valid JSON.`, cause);
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    throw invalid(`${CONFIG} holds no JSON object.`);
  return config as Readonly<Record<string, unknown>>;
}

function flag(config: Readonly<Record<string, unknown>>, key: string): boolean | undefined {
  const value = config[key] ?? undefined;
  if (value === undefined || typeof value === 'boolean') return value;
  throw invalid(`${CONFIG}: ${key} is true, false or null.`);
}

function lengthOf(value: unknown): number {
  const length = value ?? MOST_TOKENS;
  if (typeof length === 'number' && length >= LEAST_TOKENS) return Math.floor(Math.min(length, MOST_TOKENS));
  throw invalid(`${CONFIG}: model_max_length is a number of tokens, ${LEAST_TOKENS} at least.`);
}

function invalid(reason: string, cause?: unknown): MarlineError {
  return new MarlineError('HANDLER_INVALID', { reason }, cause === undefined ? undefined : { cause });
}
