import { readFile, writeFile } from 'node:fs/promises';
import { median } from '../peers/comparison.js';
import { ROOT } from '../peers/folders.js';
import { digits, spread, table } from '../peers/format.js';
import { quantile } from './quantile.js';
import {
  BENCHMARKS,
  readResult,
  type Aim,
  type Benchmark,
  type ResultTable,
  type StoredResult,
} from './result.js';

const DOCUMENT = `${ROOT}docs/performance.md`;
const PEERS_END = '<!-- peers:end -->';
const BEGIN = '<!-- suite:begin: written by npm run bench -- report, do not edit -->';

const MET = 'met';
const MISSED = '**missed**';
/** A row of a table of aims: what, limit, value, verdict. */
const AIM_ROW = /^\| (.+) \| (.+) \| (.+) \| (met|\*\*missed\*\*) \|$/gm;

/**
 * Writes what the suite measured last into docs/performance.md: all that stands below the comparison with peers. What has no
 * result here, because it was measured on another machine, keeps its section.
 */
export async function writeSuiteReport(): Promise<void> {
  const document = await readFile(DOCUMENT, 'utf8');
  const end = document.indexOf(PEERS_END);
  if (end < 0) throw new Error(`${DOCUMENT} needs the line "${PEERS_END}".`);
  const sections = BENCHMARKS.flatMap((name) => {
    const result = readResult(name);
    return (result === undefined ? keptSection(name, document) : section(result)) ?? [];
  });
  if (sections.length === 0)
    throw new Error('There are no results to report; measure with: npm run bench -- all');
  const text = [BEGIN, '## Marline alone', INTRODUCTION, allAims(sections), ...sections].join('\n\n');
  await writeFile(DOCUMENT, `${document.slice(0, end + PEERS_END.length)}\n\n${text}\n`);
}

/** One benchmark, as Markdown: for the terminal and the report alike. */
export function section(result: StoredResult): string {
  const { title, method, aims, tables } = result;
  return [
    `### ${title}`,
    [...method, circumstances(result)].join('\n'),
    ...tables.map(tableOf),
    ...(aims.length === 0 ? [] : [aimTable(aims)]),
  ].join('\n\n');
}

const INTRODUCTION = `Figures are medians (range) over interleaved rounds, with the defaults unless a line says otherwise: two workers, one intra-op
thread. \`npm run build && npm run bench -- NAME\` runs one of them, \`-- all\` runs them one after the other, \`-- report\` writes this part
again; \`ROUNDS\` and \`SECONDS\` change how long it takes. Every round's values stay in \`.marline/bench-results\`.`;

/** How the section of a benchmark names it, and nothing else does. */
function commandOf(name: string): string {
  return `\`npm run bench -- ${name}\`:`;
}

function keptSection(name: Benchmark, document: string): string | undefined {
  const sections = document.split(/^(?=### )/m).map((text) => text.trimEnd());
  return sections.find((text) => text.includes(commandOf(name)));
}

function allAims(sections: readonly string[]): string {
  const all = sections.flatMap((text) => [...text.matchAll(AIM_ROW)]);
  const missed = all.filter(([, , , , verdict]) => verdict === MISSED);
  return missed.length === 0
    ? `All ${all.length} aims below are met.`
    : [
        `${all.length - missed.length} of ${all.length} aims below are met. Missed:\n`,
        ...missed.map(([, what, limit, value]) => `- ${what}: asked ${limit}, measured ${value}`),
      ].join('\n');
}

function circumstances({ name, rounds, startedAt, machine }: StoredResult): string {
  const versions = Object.entries(machine.versions).map(([what, version]) => `${what} ${version}`);
  return [
    `${commandOf(name)} ${rounds} ${rounds === 1 ? 'round' : 'rounds'} on ${startedAt.slice(0, 10)}, commit ${machine.commit};`,
    `${machine.cores} shared cores (${machine.cpu}), ${machine.memoryGb} GB, Linux ${machine.kernel}, ${versions.join(', ')}; load average before ${digits(machine.load)}.`,
  ].join('\n');
}

function tableOf({ columns, rows }: ResultTable): string {
  return table(
    columns,
    rows.map(({ title, cells }) => [title, ...cells.map(cell)]),
  );
}

function aimTable(aims: readonly Aim[]): string {
  return table(
    ['aim', 'asked', 'measured', ''],
    aims.map((aim) => [aim.what, asked(aim), measured(aim), isMet(aim) ? MET : MISSED]),
  );
}

function cell(values: readonly number[]): string {
  return spread(new Map(values.entries()));
}

function asked({ sign, asked, unit }: Aim): string {
  return `${sign} ${asked}${unit}`;
}

function measured({ values, unit }: Aim): string {
  const value = `${digits(median(values))}${unit}`;
  if (values.length === 1) return value;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${value} (${digits(low)}${low < 0 ? ' to ' : '–'}${digits(high)})`;
}

function isMet({ sign, asked, values, judgedAt }: Aim): boolean {
  const fromWorst = sign === '≥' ? values : values.map((value) => -value);
  const judged = judgedAt === undefined ? median(values) : Math.abs(quantile(fromWorst, judgedAt));
  if (sign === '≥') return judged >= asked;
  return sign === '≤' ? judged <= asked : judged < asked;
}
