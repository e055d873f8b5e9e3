import { position, type Plot } from './plot.js';

const SIGNS = '·+x*o#';

/**
 * The plot in characters, each series with a sign of its own.
 * @param size columns and rows of the inside of the frame
 */
export function terminalPlot(plot: Plot, size = { columns: 64, rows: 12 }): string {
  const { columns, rows } = size;
  const grid = Array.from({ length: rows }, () => Array<string>(columns).fill(' '));
  for (const [index, { points }] of plot.series.entries()) {
    for (let column = 0; column < columns; column++) {
      const row = rowAt(plot, points, column / (columns - 1), rows);
      if (row !== undefined) grid[row]![column] = SIGNS[index % SIGNS.length]!;
    }
  }
  const labels = new Map(
    plot.yTicks.map(({ at, text }) => [rowOf(position(at, plot.yTicks, Math.log10), rows), text]),
  );
  const width = Math.max(...plot.yTicks.map(({ text }) => text.length));
  const legend = plot.series.map(({ name }, index) => `${SIGNS[index % SIGNS.length]} ${name}`).join('   ');
  return [
    `${plot.yLabel}   ${legend}`,
    ...grid.map((row, index) => `${(labels.get(index) ?? '').padStart(width)} │${row.join('').trimEnd()}`),
    `${' '.repeat(width)} └${'─'.repeat(columns)}`,
    `${' '.repeat(width + 2)}${xAxis(plot, columns)}  ${plot.xLabel}`,
    '',
  ].join('\n');
}

/** The row of the line through the points at a place of the x axis from 0 to 1; none outside of the points. */
function rowAt(
  plot: Plot,
  points: Plot['series'][number]['points'],
  place: number,
  rows: number,
): number | undefined {
  const places = points.map(([x, y]) => [
    position(x, plot.xTicks, Number),
    position(y, plot.yTicks, Math.log10),
  ]);
  const after = places.findIndex(([x = 0]) => x >= place - 1e-9);
  const [x1 = 0, y1 = 0] = places[after] ?? [];
  const [x0 = 0, y0 = 0] = places[after - 1] ?? [x1, y1];
  if (after < 0 || (after === 0 && x1 > place + 1e-9)) return undefined;
  return rowOf(x1 === x0 ? y1 : y0 + ((y1 - y0) * (place - x0)) / (x1 - x0), rows);
}

function rowOf(place: number, rows: number): number {
  return rows - 1 - Math.round(Math.min(1, Math.max(0, place)) * (rows - 1));
}

function xAxis({ xTicks }: Plot, columns: number): string {
  let line = '';
  for (const { at, text } of xTicks) {
    const column = Math.round(position(at, xTicks, Number) * (columns - 1));
    const start = Math.max(0, Math.min(columns - text.length, column - Math.floor(text.length / 2)));
    if (start >= line.length + (line === '' ? 0 : 1)) line = line.padEnd(start) + text;
  }
  return line;
}
