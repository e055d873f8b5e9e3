import { loadName, type BenchReport, type BenchRun } from './bench-report.js';

interface Row {
  readonly label: string;
  readonly cell: (run: BenchRun) => string;
  /** Left out when every run says so. */
  readonly optional?: boolean;
}

const NOTHING = '-';
/** From this many busy cores on, the one thread of the generator may be what limits the load. */
const BUSY_CORES = 0.9;

/** The report as text: runs as columns, milliseconds with three significant digits. */
export function benchTable(report: BenchReport): string {
  const { runs, target, deadlineMs, warmupSeconds } = report;
  const rows = rowsOf(deadlineMs).filter(
    ({ optional = false, cell }) => !optional || runs.some((run) => cell(run) !== NOTHING),
  );
  const cells = [['', ...runs.map(({ load }) => loadName(load))]];
  for (const { label, cell } of rows) cells.push([label, ...runs.map(cell)]);
  const sizes = target.bodyBytes.length === 0 ? '' : `, ${sizeText(target.bodyBytes)}`;
  const seconds = runs.map((run) => run.seconds);
  const head = `${target.method} ${target.url}${sizes}; ${amount(Math.max(0, ...seconds))} s a run after ${warmupSeconds} s of warm-up`;
  return [head, '', ...align(cells), ...notes(runs).map((note) => `\n${note}`), ''].join('\n');
}

/** Columns as wide as their widest cell: the first to the left, the others to the right. */
export function align(cells: readonly (readonly string[])[]): string[] {
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0)),
  );
  return cells.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** Three significant digits, without an exponent. */
export function amount(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 4));
}

function rowsOf(deadlineMs: number | null): Row[] {
  const latency = (label: string, key: 'p50' | 'p90' | 'p95' | 'p99' | 'p999' | 'max'): Row => ({
    label,
    cell: ({ latencyMs }) => (latencyMs === null ? NOTHING : amount(latencyMs[key])),
  });
  return [
    {
      label: 'due/s',
      cell: (run) => (run.load.kind === 'open' ? amount(run.load.rate) : NOTHING),
      optional: true,
    },
    { label: '2xx/s', cell: (run) => amount(run.throughput) },
    ...(deadlineMs === null
      ? []
      : [{ label: `within ${deadlineMs} ms/s`, cell: (run: BenchRun) => amount(run.goodput) }]),
    latency('p50 ms', 'p50'),
    latency('p90 ms', 'p90'),
    latency('p95 ms', 'p95'),
    latency('p99 ms', 'p99'),
    latency('p99.9 ms', 'p999'),
    latency('max ms', 'max'),
    { label: '2xx', cell: (run) => count(answers(run, (status) => status.startsWith('2'))) },
    { label: '429, 503', cell: (run) => count(answers(run, isRefusal)), optional: true },
    {
      label: 'their p99 ms',
      cell: ({ refusalLatencyMs }) => (refusalLatencyMs === null ? NOTHING : amount(refusalLatencyMs.p99)),
      optional: true,
    },
    { label: '504', cell: (run) => count(answers(run, (status) => status === '504')), optional: true },
    {
      label: 'other statuses',
      cell: (run) =>
        count(answers(run, (status) => !status.startsWith('2') && !isRefusal(status) && status !== '504')),
      optional: true,
    },
    {
      label: 'failed',
      cell: (run) => count(run.failures.reduce((sum, { count }) => sum + count, 0)),
      optional: true,
    },
    { label: 'never sent', cell: (run) => count(run.unsent), optional: true },
    { label: 'unanswered', cell: (run) => count(run.unanswered), optional: true },
    {
      label: 'sent late, p99 ms',
      cell: ({ load, sendDelayMs }) =>
        load.kind === 'open' && sendDelayMs !== null ? amount(sendDelayMs.p99) : NOTHING,
      optional: true,
    },
  ];
}

function notes(runs: readonly BenchRun[]): string[] {
  const interrupted = runs.some(({ end }) => end === 'interrupted');
  const busy = runs.filter(({ generatorCores }) => generatorCores >= BUSY_CORES);
  return [
    ...(interrupted ? ['Interrupted: the last run is shorter than the others.'] : []),
    ...(busy.length === 0
      ? []
      : [
          `The load generator itself was busy with ${amount(Math.max(...busy.map((run) => run.generatorCores)))} cores ` +
            `(${busy.map(({ load }) => loadName(load)).join('; ')}): the server may be able to do more.`,
        ]),
  ];
}

function answers({ statuses }: BenchRun, wanted: (status: string) => boolean): number {
  return Object.entries(statuses).reduce((sum, [status, n]) => (wanted(status) ? sum + n : sum), 0);
}

function isRefusal(status: string): boolean {
  return status === '429' || status === '503';
}

function count(value: number): string {
  return value === 0 ? NOTHING : String(value);
}

function sizeText(bytes: readonly number[]): string {
  const [least, most] = [Math.min(...bytes), Math.max(...bytes)];
  const range = least === most ? `${least}` : `${least} to ${most}`;
  return bytes.length === 1 ? `${range} bytes` : `${bytes.length} bodies of ${range} bytes`;
}
