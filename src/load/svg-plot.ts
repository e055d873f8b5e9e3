import { position, type Plot, type Tick } from './plot.js';

const WIDTH = 720;
const HEIGHT = 400;
const FRAME = { left: 64, right: 16, top: 40, bottom: 48 } as const;
/** Colours that stay apart for colour-blind readers (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];

/** The plot as an SVG document. */
export function svgPlot(plot: Plot): string {
  const x = (at: number) =>
    round(FRAME.left + position(at, plot.xTicks, Number) * (WIDTH - FRAME.left - FRAME.right));
  const y = (at: number) =>
    round(
      HEIGHT - FRAME.bottom - position(at, plot.yTicks, Math.log10) * (HEIGHT - FRAME.top - FRAME.bottom),
    );
  const [left, right] = [FRAME.left, WIDTH - FRAME.right];
  const [top, bottom] = [FRAME.top, HEIGHT - FRAME.bottom];
  const vertical = ({ at, text }: Tick) =>
    `<line x1="${x(at)}" y1="${top}" x2="${x(at)}" y2="${bottom}"/>` +
    `<text x="${x(at)}" y="${bottom + 16}" text-anchor="middle">${escape(text)}</text>`;
  const horizontal = ({ at, text }: Tick) =>
    `<line x1="${left}" y1="${y(at)}" x2="${right}" y2="${y(at)}"/>` +
    `<text x="${left - 8}" y="${y(at) + 4}" text-anchor="end">${escape(text)}</text>`;
  const lines = plot.series.map(({ name, points }, index) => {
    const colour = COLOURS[index % COLOURS.length];
    const places = points.map(([px, py]) => `${x(px)},${y(py)}`);
    const dots = points.map(([px, py]) => `<circle cx="${x(px)}" cy="${y(py)}" r="3"/>`).join('');
    const legendX = left + 12 + index * 110;
    return (
      `<g fill="${colour}" stroke="${colour}"><polyline points="${places.join(' ')}" fill="none" stroke-width="2"/>${dots}` +
      `<text x="${legendX}" y="${top + 18}" stroke="none">● ${escape(name)}</text></g>`
    );
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${WIDTH / 2}" y="22" text-anchor="middle" font-size="14">${escape(plot.title)}</text>`,
    `<g stroke="#ddd" fill="#444">${[...plot.xTicks.map(vertical), ...plot.yTicks.map(horizontal)].join('').replaceAll('<text ', '<text stroke="none" ')}</g>`,
    `<text x="${(left + right) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escape(plot.xLabel)}</text>`,
    `<text transform="translate(16 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escape(plot.yLabel)}</text>`,
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
