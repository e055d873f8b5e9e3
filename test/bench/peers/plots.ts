import { Comparison, median, perSecond, ratio } from './comparison.js';
import { digits } from './format.js';
import type { BenchModel } from './models.js';
import { RAW } from './rounds.js';

const PANEL = { width: 300, label: 100, row: 15, head: 26, columns: 3 };
const OURS = '#1d6f52';
const APART = '#8fbfae';
const PEER = '#8d97a8';
const LINE = '#b4232a';

interface Bar {
  readonly title: string;
  readonly value: number;
  readonly colour: string;
}

/** CPU per request as a multiple of R + F: the shorter the better, the line is the limit. */
export function cpuPlot(comparison: Comparison): string {
  return plot(comparison, 'CPU per request ÷ (R + F)', (model, peer) =>
    median(comparison.multiple(model, peer).values()),
  );
}

/** Requests per second at 8 connections by those of the raw loop: the longer the better. */
export function throughputPlot(comparison: Comparison): string {
  return plot(comparison, 'Requests per second at 8 connections ÷ R', (model, peer) => {
    const series = (id: string) => comparison.series(model, id, 8, perSecond);
    return median(ratio(series(peer), series(RAW)).values());
  });
}

function plot(
  comparison: Comparison,
  title: string,
  valueOf: (model: BenchModel, peer: string) => number,
): string {
  const panels = comparison.models.map((model) => {
    const bars = comparison
      .peers(model)
      .filter(({ kind }) => kind !== 'limit')
      .map(({ id, title, kind }) => ({
        title,
        value: valueOf(model, id),
        colour: kind === 'ours' ? OURS : kind === 'ours, apart' ? APART : PEER,
      }));
    return { title: model.title, bars };
  });
  const rows = Math.ceil(panels.length / PANEL.columns);
  const panelHeight = PANEL.head + PANEL.row * Math.max(0, ...panels.map(({ bars }) => bars.length)) + 14;
  const width = PANEL.width * Math.min(PANEL.columns, panels.length);
  const height = 24 + rows * panelHeight;
  const drawn = panels.map(({ title, bars }, at) => {
    const x = (at % PANEL.columns) * PANEL.width;
    const y = 24 + Math.floor(at / PANEL.columns) * panelHeight;
    return `<g transform="translate(${x} ${y})">${panel(title, bars)}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="10">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="8" y="16" font-size="13" font-weight="bold">${title}</text>`,
    ...drawn,
    '</svg>\n',
  ].join('\n');
}

function panel(title: string, bars: readonly Bar[]): string {
  const room = PANEL.width - PANEL.label - 50;
  const largest = Math.max(1, ...bars.map(({ value }) => value).filter(Number.isFinite));
  const long = (value: number) => ((value / largest) * room).toFixed(1);
  const line = PANEL.label + Number(long(1));
  const parts = [`<text x="8" y="15" font-weight="bold">${title}</text>`];
  bars.forEach(({ title, value, colour }, at) => {
    const y = PANEL.head + at * PANEL.row;
    const end = PANEL.label + Number(long(Number.isFinite(value) ? value : 0));
    // The number of a bar that ends just before the line stands behind the line.
    const text = line > end && line < end + 26 ? line : end;
    parts.push(
      `<text x="${PANEL.label - 4}" y="${y + 8}" text-anchor="end">${title}</text>`,
      `<rect x="${PANEL.label}" y="${y}" width="${(end - PANEL.label).toFixed(1)}" height="10" fill="${colour}"/>`,
      `<text x="${(text + 4).toFixed(1)}" y="${y + 8}">${digits(value)}</text>`,
    );
  });
  const x = line.toFixed(1);
  const bottom = PANEL.head + bars.length * PANEL.row - 2;
  parts.push(
    `<line x1="${x}" x2="${x}" y1="${PANEL.head - 3}" y2="${bottom}" stroke="${LINE}" stroke-dasharray="3 2"/>`,
  );
  return parts.join('');
}
