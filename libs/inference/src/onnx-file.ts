import { closeSync, fstatSync, lstatSync, openSync, realpathSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { MarlineError } from '#libs/common';
import { ProtobufError, ProtobufReader, type ProtobufField } from './protobuf-reader.js';

/** What a look at the bytes of an ONNX file tells, before anything native reads it. */
export interface OnnxFile {
  /** Bytes of the file and of the external data that it refers to. */
  readonly bytes: number;
  /** Names of the files with external data, relative to the model's folder; sorted. */
  readonly externalFiles: readonly string[];
}

/** Where messages with tensors lie inside each other: message → field number → message. */
const SCHEMA: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  Model: { 7: 'Graph', 20: 'Training', 25: 'Function' },
  Training: { 1: 'Graph', 2: 'Graph' },
  Function: { 7: 'Node', 11: 'Attribute' },
  Graph: { 1: 'Node', 5: 'Tensor', 15: 'SparseTensor' },
  Node: { 5: 'Attribute' },
  Attribute: { 5: 'Tensor', 6: 'Graph', 10: 'Tensor', 11: 'Graph', 22: 'SparseTensor', 23: 'SparseTensor' },
  SparseTensor: { 1: 'Tensor', 2: 'Tensor' },
};
const TENSOR_EXTERNAL_DATA = 13;
const MODEL_GRAPH = 7;

/** Protobuf's own limit for one message. */
const MAX_FILE_BYTES = 2 ** 31 - 1;
/** As deep as ONNX Runtime's parser follows messages. */
const MAX_DEPTH = 100;
const MAX_TEXT_BYTES = 4096;

/**
 * Checks an ONNX file before ONNX Runtime reads it: that it is one message with a graph in it, and that all external data lie
 * in regular files inside the model's folder and within their lengths. Synchronous: made for the process that tries the model.
 * @throws MarlineError `MODEL_INVALID` with what is wrong
 */
export function inspectOnnxFile(path: string): OnnxFile {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    if (size > MAX_FILE_BYTES)
      throw invalid(
        `it has ${size} bytes; an ONNX file has at most ${MAX_FILE_BYTES}: keep its weights as external data`,
      );
    const folder = realpathSync(dirname(path));
    const reader = new ProtobufReader(fd);
    const sizes = new Map<string, number>();
    let hasGraph = false;
    const visit = (message: string, start: number, end: number, depth: number): void => {
      if (depth > MAX_DEPTH) throw new ProtobufError('its graphs lie too deep inside each other');
      let external: Map<string, string> | undefined;
      for (const field of reader.fields(start, end)) {
        if (!field.isBytes) continue;
        hasGraph ||= message === 'Model' && field.number === MODEL_GRAPH;
        if (message === 'Tensor' && field.number === TENSOR_EXTERNAL_DATA) {
          external ??= new Map();
          const [key, value] = readEntry(reader, field);
          // Each location counts, not only the last: which one is used is the parser's choice.
          if (key === 'location' && !sizes.has(value)) sizes.set(value, externalSize(folder, value));
          external.set(key, value);
        }
        const inner = SCHEMA[message]?.[field.number];
        if (inner !== undefined) visit(inner, field.start, field.end, depth + 1);
      }
      if (external !== undefined) checkRange(external, sizes);
    };
    visit('Model', 0, size, 0);
    if (!hasGraph) throw new ProtobufError('it holds no graph');
    return {
      bytes: [...sizes.values()].reduce((sum, bytes) => sum + bytes, size),
      externalFiles: [...sizes.keys()].toSorted(),
    };
  } catch (error) {
    if (error instanceof ProtobufError)
      throw invalid(`it is no ONNX model or is damaged: ${error.message}`, error);
    throw error;
  } finally {
    closeSync(fd);
  }

  function invalid(problem: string, cause?: unknown): MarlineError {
    return new MarlineError(
      'MODEL_INVALID',
      { reason: `The model file ${basename(path)} cannot be used: ${problem}.` },
      { cause },
    );
  }
}

function readEntry(reader: ProtobufReader, entry: ProtobufField): [key: string, value: string] {
  let key = '';
  let value = '';
  for (const field of reader.fields(entry.start, entry.end)) {
    if (field.isBytes && field.number === 1) key = reader.text(field, MAX_TEXT_BYTES);
    if (field.isBytes && field.number === 2) value = reader.text(field, MAX_TEXT_BYTES);
  }
  return [key, value];
}

/** Bytes of a file with external data. @throws MarlineError when it is not a regular file inside the model's folder */
function externalSize(folder: string, location: string): number {
  const parts = location.split('/');
  // `*` as well: ONNX Runtime takes a certain name with stars for an address in memory.
  const isPlain = !/[\\:*\p{Cc}]/u.test(location) && parts.every((part) => part !== '' && part !== '..');
  if (!isPlain)
    throw refused(location, 'the name must be relative and may not leave the folder of the model');
  const file = join(folder, ...parts);
  const stat = lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) throw refused(location, 'there is no such file beside the model');
  // The whole path must be real: a link anywhere in it could lead out.
  if (!stat.isFile() || realpathSync(file) !== file || !file.startsWith(folder + sep)) {
    throw refused(location, 'it is no regular file inside the folder of the model');
  }
  return stat.size;
}

function checkRange(external: ReadonlyMap<string, string>, sizes: ReadonlyMap<string, number>): void {
  const location = external.get('location') ?? '';
  const size = BigInt(sizes.get(location) ?? 0);
  const [offset, length] = ['offset', 'length'].map((key) => external.get(key) ?? '0');
  const isRange = [offset, length].every((text) => /^\d{1,19}$/.test(text ?? ''));
  if (!isRange || BigInt(offset ?? 0) + BigInt(length ?? 0) > size) {
    throw refused(location, `the part from ${offset} of ${length} bytes is not in it`);
  }
}

function refused(location: string, why: string): MarlineError {
  const reason = `The model's external data ${JSON.stringify(location)} cannot be used: ${why}.`;
  return new MarlineError('MODEL_INVALID', { reason });
}
