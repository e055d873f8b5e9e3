import { describe, expect, it } from 'vitest';
import { problemOf, type BenchLoad, type BenchReport, type BenchRun } from './bench-report.js';
import { benchTable } from './bench-table.js';
import { plotOf } from './plot.js';
import { svgPlot } from './svg-plot.js';
import { terminalPlot } from './terminal-plot.js';

function run(load: BenchLoad, scale = 1, rest: Partial<BenchRun> = {}): BenchRun {
  const latency = { count: 100, mean: 2, min: 1, p50: 2, p90: 3, p95: 4, p99: 5, p999: 6, max: 70 };
  return {
    load,
    end: 'complete',
    generatorCores: 0.2,
    seconds: 10,
    due: 100,
    unsent: 0,
    unanswered: 0,
    statuses: { 200: 100 },
    failures: [],
    throughput: 10,
    goodput: 9.5,
    latencyMs: Object.fromEntries(
      Object.entries(latency).map(([key, value]) => [key, value * scale]),
    ) as unknown as BenchRun['latencyMs'],
    refusalLatencyMs: null,
    sendDelayMs: null,
    percentiles: [
      [50, 2 * scale],
      [90, 5 * scale],
      [100, 70 * scale],
    ],
    ...rest,
  };
}

function report(runs: readonly BenchRun[], rest: Partial<BenchReport> = {}): BenchReport {
  return {
    schema: 'marline-bench/1',
    startedAt: '',
    generator: '',
    machine: '',
    target: { url: 'http://h/<m>', method: 'POST', bodyBytes: [8] },
    warmupSeconds: 2,
    timeoutMs: 1000,
    deadlineMs: null,
    runs,
    ...rest,
  };
}

const closed: BenchLoad = { kind: 'closed', connections: 8 };
const share = (capacityShare: number): BenchLoad => ({
  kind: 'open',
  arrivals: 'constant',
  rate: capacityShare * 100,
  maxConnections: 10,
  capacityShare,
});
const sweep = report([run(closed), ...[0.25, 0.5, 1.1].map((at) => run(share(at), at * 100))]);

describe('benchTable', () => {
  it('shows one run as one column, without rows that say nothing', () => {
    expect(benchTable(report([run(closed)]))).toBe(
      [
        'POST http://h/<m>, 8 bytes; 10.0 s a run after 2 s of warm-up',
        '',
        '          closed, 8',
        '2xx/s          10.0',
        'p50 ms         2.00',
        'p90 ms         3.00',
        'p95 ms         4.00',
        'p99 ms         5.00',
        'p99.9 ms       6.00',
        'max ms         70.0',
        '2xx             100',
        '',
      ].join('\n'),
    );
  });

  it('shows overload, goodput and what went wrong where there is any', () => {
    const text = benchTable(
      report(
        [
          run(share(0.5)),
          run(share(1.1), 1, {
            statuses: { 200: 50, 429: 3, 503: 4, 504: 5, 500: 6 },
            refusalLatencyMs: run(closed).latencyMs,
            unsent: 7,
            failures: [{ failure: 'closed', count: 8, example: 'ECONNRESET' }],
            generatorCores: 0.97,
            end: 'interrupted',
          }),
        ],
        { deadlineMs: 20 },
      ),
    );
    for (const line of [
      /^ +50 % +110 %$/m,
      /^due\/s +50\.0 +110$/m,
      /^within 20 ms\/s +9\.50 +9\.50$/m,
      /^429, 503 +- +7$/m,
      /^their p99 ms +- +5\.00$/m,
      /^504 +- +5$/m,
      /^other statuses +- +6$/m,
      /^failed +- +8$/m,
      /^never sent +- +7$/m,
      /^Interrupted/m,
      /^The load generator itself was busy with 0\.970 cores \(110 %\)/m,
    ])
      expect(text).toMatch(line);
  });
});

describe('problemOf', () => {
  it('takes overload for a result', () => {
    const overloaded = run(closed, 1, { statuses: { 200: 1, 429: 5, 503: 5, 504: 5 }, unsent: 100 });
    expect(problemOf([run(closed), overloaded])).toBeUndefined();
  });

  it.each([
    [{ statuses: { 200: 5, 404: 5 } }, '5 of 100 answers have the status 404'],
    [
      { failures: [{ failure: 'time-out', count: 2, example: 'late' }] },
      '2 of 100 requests failed (time-out: late)',
    ],
    [{ end: 'server gone' }, 'the server was gone'],
    [{ latencyMs: null, statuses: { 503: 1 } }, 'no request had an answer of 200 to 299'],
  ] as const)('names %j', (rest, problem) => {
    expect(problemOf([run(closed, 1, rest as Partial<BenchRun>)])).toContain(problem);
  });
});

describe('plotOf', () => {
  it('draws a sweep as latency over rate', () => {
    const { series, xTicks, yTicks } = plotOf(sweep)!;
    expect(series.map(({ name }) => name)).toEqual(['p50', 'p99', 'p99.9']);
    expect(series[0]!.points).toEqual([
      [25, 50],
      [50, 100],
      [110.00000000000001, 220.00000000000003],
    ]);
    expect(xTicks.map(({ text }) => text)).toEqual(['25.0', '50.0', '110']);
    expect(yTicks.map(({ text }) => text)).toEqual(['50', '100', '200', '500', '1000']);
  });

  it('draws a single run over percentiles, and nothing when nothing was answered', () => {
    expect(plotOf(report([run(closed)]))!.series).toEqual([
      {
        name: '8 connections',
        points: [
          [-Math.log10(0.5), 2],
          [expect.closeTo(1), 5],
        ],
      },
    ]);
    expect(plotOf(report([run(closed, 1, { latencyMs: null, percentiles: [] })]))).toBeUndefined();
  });
});

describe('the plots', () => {
  it('are well-formed SVG with every series and escaped text', () => {
    const svg = svgPlot(plotOf(sweep)!);
    expect(svg).toMatch(/^<svg [^]*<\/svg>\n$/);
    expect(svg).toContain('http://h/&lt;m&gt;');
    expect(svg.match(/<polyline points="[\d., ]+"/g)).toHaveLength(3);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });

  it('fit the terminal, with the lowest latency below the highest', () => {
    const lines = terminalPlot(plotOf(sweep)!, { columns: 40, rows: 8 }).split('\n');
    expect(Math.max(...lines.slice(0, 10).map((line) => line.length))).toBeLessThanOrEqual(50);
    const rows = lines.slice(1, 9);
    const rowOf = (sign: string) => rows.findIndex((row) => row.includes(sign));
    expect(rowOf('x')).toBeLessThanOrEqual(rowOf('+'));
    expect(rowOf('+')).toBeLessThan(rowOf('·'));
    expect(rows[0]).toMatch(/^1000 │/);
    expect(rows[7]).toMatch(/^ {2}50 │/);
  });

  it('draw a single latency too', () => {
    const flat = run(closed, 1, {
      percentiles: [
        [50, 1],
        [99, 1],
      ],
    });
    const plot = plotOf(report([flat]))!;
    expect(terminalPlot(plot)).toContain('·');
    expect(svgPlot(plot)).not.toMatch(/NaN|Infinity/);
  });
});
