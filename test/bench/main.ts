/**
 * What Marline has to show, measured: `npm run build && npm run bench -- NAME`, NAME is one of
 *
 * - latency     added latency at one connection, in process and over HTTP
 * - gateway     event-loop delay and another route's latency beside saturated workers
 * - overload    goodput at 200 % of capacity, refusals, recovery, clients that leave
 * - adaptive    throughput of learned batch sizes beside batch size 1
 * - isolation   CPU per request of processes beside threads
 * - memory      PSS by the number of workers
 * - models      a thousand models without workers: registration, descriptions, pages, memory
 * - scale-up    one more worker until it serves
 * - cold-start  the server's start to its first answer
 * - infer       what `@Infer` costs a request
 * - soak        a million requests with registrations, scaling and swaps in between
 * - python      Python archives beside the real TorchServe, and converted to ONNX beside Python
 * - gpu         the first GPU: batch sizes, and Marline beside a loop of runs; only where there is one
 * - peers       the comparison with other servers; see peers/main.ts
 * - all         all but gpu and peers, one after the other, then the report
 * - report      writes docs/performance.md from the last results, the comparison with peers included
 *
 * `ROUNDS` (10) and `SECONDS` change how long it takes. Each prints its tables and writes .marline/bench-results/NAME.json.
 */
import { readResults } from './peers/results.js';
import { writeReport } from './peers/report.js';
import { stopAll } from './peers/server.js';
import { section, writeSuiteReport } from './suite/report.js';
import { BENCHMARKS, runBenchmark, type BenchResult, type Benchmark } from './suite/result.js';

const name = process.argv[2] ?? '';
// Servers in sessions of their own do not hear a Ctrl-C.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopAll().finally(() => process.exit(130)));

if (name === 'report') await report();
else if (name === 'peers') await import('./peers/main.js');
else if (name === 'all') {
  for (const benchmark of BENCHMARKS) await measure(benchmark);
  await report();
} else if (isBenchmark(name)) await measure(name);
else {
  console.error(
    `Which benchmark? npm run bench -- ${[...BENCHMARKS, 'gpu', 'peers', 'all', 'report'].join(' | ')} (not: ${name || 'nothing'})`,
  );
  process.exitCode = 1;
}

async function measure(benchmark: Benchmark): Promise<void> {
  const program = (await import(`./${benchmark}.js`)) as { default: () => Promise<BenchResult> };
  try {
    console.log(`\n${section(await runBenchmark(program.default))}`);
  } finally {
    await stopAll();
  }
}

async function report(): Promise<void> {
  const compared = readResults();
  if (compared.length > 0) await writeReport(compared);
  await writeSuiteReport();
}

function isBenchmark(name: string): name is Benchmark {
  return name === 'gpu' || (BENCHMARKS as readonly string[]).includes(name);
}
