import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MarlineError, arrayTypeOf, elementCount, isDType, type DType, type TensorData } from '#libs/common';
import type { NamedTensor } from './compare-outputs.js';

/** Name, element type and shape of one tensor. */
interface TensorHead {
  readonly name: string;
  readonly dtype: Exclude<DType, 'string'>;
  readonly shape: readonly number[];
}

/** What PyTorch was asked and answered once. */
interface ExportCase {
  readonly inputs: readonly TensorHead[];
  readonly outputs: readonly TensorHead[];
}

/** A model that was exported. */
export interface ExportedModel {
  /** Holds `onnx/model.onnx`, what lies beside that, and the tensors of the cases. */
  readonly folder: string;
  /** Files beside the model, with weights that are too large for it. */
  readonly weights: readonly string[];
  /** PyTorch's version. */
  readonly torch: string;
  /** The name of its class. */
  readonly model: string;
  readonly exporter: string;
  readonly batch: 'free' | 'fixed';
  /** Why the batch axis is fixed although it was not to be. */
  readonly note?: string;
  readonly cases: readonly ExportCase[];
}

/** Why a model was not exported. */
export interface ExportFailure {
  readonly ok: false;
  readonly problem: string;
  readonly detail: string;
}

type ExportResult =
  { readonly ok: true; readonly exported: Omit<ExportedModel, 'folder' | 'weights'> } | ExportFailure;

/**
 * Reads what the exporting program says. The archive's code runs in that program, so it is checked like anything from outside.
 * @throws MarlineError `MODEL_INVALID`
 */
export function readExportResult(text: string): ExportResult {
  let result: unknown;
  try {
    result = JSON.parse(text);
  } catch (cause) {
    throw malformed(cause);
  }
  if (!isRecord(result)) throw malformed();
  const { ok, problem, detail, torch, model, exporter, batch, note, cases } = result;
  if (ok === false && typeof problem === 'string' && typeof detail === 'string')
    return { ok, problem, detail: oneLine(detail) };
  const isComplete =
    ok === true &&
    [torch, model, exporter].every((each) => typeof each === 'string') &&
    (batch === 'free' || batch === 'fixed') &&
    Array.isArray(cases) &&
    cases.length > 0;
  if (!isComplete) throw malformed();
  return {
    ok,
    exported: {
      torch: oneLine(String(torch)),
      model: oneLine(String(model)),
      exporter: oneLine(String(exporter)),
      batch,
      ...(typeof note === 'string' ? { note: oneLine(note) } : {}),
      cases: cases.map(toCase),
    },
  };
}

/**
 * The tensors of one case, read anew at every call.
 * @throws MarlineError `MODEL_INVALID` when a file is missing, or not as long as its shape says
 */
export async function readCase(
  { folder, cases }: Pick<ExportedModel, 'folder' | 'cases'>,
  index: number,
): Promise<{ readonly inputs: readonly NamedTensor[]; readonly outputs: readonly NamedTensor[] }> {
  const read = (heads: readonly TensorHead[] = [], role: string) =>
    Promise.all(heads.map((head, at) => readTensor(join(folder, `case-${index}-${role}-${at}.bin`), head)));
  return {
    inputs: await read(cases[index]?.inputs, 'input'),
    outputs: await read(cases[index]?.outputs, 'output'),
  };
}

async function readTensor(path: string, { name, dtype, shape }: TensorHead): Promise<NamedTensor> {
  const Elements = arrayTypeOf(dtype);
  const file = await stat(path).catch(() => undefined);
  // Before it is read: how large it is, was decided by the archive's code.
  if (file?.size !== elementCount(shape) * Elements.BYTES_PER_ELEMENT) throw malformed();
  const bytes = await readFile(path);
  // A copy, because a small file's bytes lie in a buffer that is not theirs alone.
  const data: TensorData = new Elements(new Uint8Array(bytes).buffer);
  return { name, dtype, shape, data };
}

function toCase(value: unknown): ExportCase {
  if (!isRecord(value)) throw malformed();
  return { inputs: toHeads(value['inputs']), outputs: toHeads(value['outputs']) };
}

function toHeads(value: unknown): TensorHead[] {
  if (!Array.isArray(value) || value.length === 0) throw malformed();
  return value.map((head: unknown) => {
    if (!isRecord(head)) throw malformed();
    const { name, dtype, shape } = head;
    const isShape =
      Array.isArray(shape) && shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0);
    if (
      typeof name !== 'string' ||
      typeof dtype !== 'string' ||
      !isDType(dtype) ||
      dtype === 'string' ||
      !isShape
    )
      throw malformed();
    return { name, dtype, shape: shape as number[] };
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Text of the archive's code, fit for a terminal: no line may pretend to be ours, and no control sequence may get there. */
export function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  return clean.slice(0, 1000).trim();
}

function malformed(cause?: unknown): MarlineError {
  return new MarlineError(
    'MODEL_INVALID',
    { reason: 'The program that exports the model gave a wrong answer.' },
    { cause },
  );
}
