import { MarlineError } from '#libs/common';

/**
 * The rows (innermost arrays) of values that are flat or nested as `shape` says, once all lengths are known to agree.
 * Works level by level, never deeper than the shape, so that no nesting can exhaust the stack.
 * @param count the number of elements of the shape
 * @param label what an error calls the values
 * @throws MarlineError `INVALID_INPUT` when the values are ragged, too few or too many
 */
export function rowsOf(
  values: readonly unknown[],
  shape: readonly number[],
  count: number,
  label: string,
): readonly (readonly unknown[])[] {
  if (shape.length <= 1 || !Array.isArray(values[0])) {
    if (values.length === count) return [values];
    throw invalid(label, `the data has ${values.length} elements, shape ${shapeText(shape)} needs ${count}`);
  }
  let rows: readonly (readonly unknown[])[] = [values];
  for (const [level, dimension] of shape.entries()) {
    const ragged = rows.findIndex((row) => row.length !== dimension);
    if (ragged >= 0) {
      const place = placeOf(ragged, shape.slice(0, level));
      throw invalid(
        label,
        `${place} has ${rows[ragged]?.length} elements, shape ${shapeText(shape)} needs ${dimension}`,
      );
    }
    if (level === shape.length - 1) break;
    const next: unknown[] = [];
    for (const row of rows) for (const child of row) next.push(child);
    const shallow = next.findIndex((row) => !Array.isArray(row));
    if (shallow >= 0)
      throw invalid(
        label,
        `${placeOf(shallow, shape.slice(0, level + 1))} is not an array, as shape ${shapeText(shape)} needs`,
      );
    rows = next as unknown[][];
  }
  return rows;
}

/** The shape of nested arrays, read along their first elements; `rowsOf` then checks that the rest agrees. */
export function nestedShape(values: readonly unknown[], maxRank: number): number[] {
  const shape: number[] = [];
  let level: unknown = values;
  while (Array.isArray(level) && shape.length < maxRank) {
    shape.push(level.length);
    level = (level as unknown[])[0];
  }
  return shape;
}

/** True for a dimension that a model leaves open. */
export function isFree(dimension: number | string | undefined): boolean {
  return typeof dimension === 'string' || (dimension !== undefined && dimension < 0);
}

/** A shape as error texts show it: `[batch,3,224,224]`, with `?` for an open dimension without a name. */
export function shapeText(shape: readonly (number | string)[]): string {
  const shown = shape.map((dimension) =>
    dimension === '' || (typeof dimension === 'number' && dimension < 0) ? '?' : dimension,
  );
  return `[${shown.join(',')}]`;
}

/** `data[1][0]` for the position of an array among all of its level. */
function placeOf(position: number, outer: readonly number[]): string {
  let rest = position;
  const indices: number[] = [];
  for (const dimension of outer.toReversed()) {
    indices.unshift(rest % dimension);
    rest = Math.floor(rest / dimension);
  }
  return ['data', ...indices.map((index) => `[${index}]`)].join('');
}

function invalid(label: string, problem: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason: `${label}: ${problem}.` });
}
