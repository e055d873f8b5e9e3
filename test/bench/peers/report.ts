import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { Comparison, cpuMs, median, p50, p99, perSecond, ratio, type Pick } from './comparison.js';
import { ROOT } from './folders.js';
import { digits, spread, table } from './format.js';
import type { Machine } from './machine.js';
import type { BenchModel } from './models.js';
import { PEERS } from './peers/all.js';
import { cpuPlot, throughputPlot } from './plots.js';
import type { ResultRecord } from './results.js';
import { CONNECTIONS, RAW } from './rounds.js';
import { OURS, aims, losses } from './verdicts.js';

const DOCUMENT = `${ROOT}docs/performance.md`;
const PLOTS = `${ROOT}docs/performance`;
const BEGIN = '<!-- peers:begin: written by npm run bench -- peers, do not edit -->';
/** A quiet machine does less than this beside the measurement, in cores. */
const QUIET_CORES = 0.1;
const END = '<!-- peers:end -->';

/** Writes the plots, and the part of docs/performance.md between its two markers. */
export async function writeReport(records: readonly ResultRecord[]): Promise<void> {
  const comparison = new Comparison(records);
  const [run] = comparison.runs;
  if (run === undefined || comparison.models.length === 0) throw new Error('There are no results to report.');
  const document = await readFile(DOCUMENT, 'utf8');
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${DOCUMENT} needs the lines "${BEGIN}" and "${END}".`);
  await mkdir(PLOTS, { recursive: true });
  await writeFile(`${PLOTS}/cpu.svg`, cpuPlot(comparison));
  await writeFile(`${PLOTS}/throughput.svg`, throughputPlot(comparison));
  const text = [BEGIN, ...sections(comparison, run.machine, run.startedAt), END].join('\n\n');
  await writeFile(DOCUMENT, document.slice(0, begin) + text + document.slice(end + END.length));
  process.stdout.write(`${text}\n`);
}

function sections(comparison: Comparison, machine: Machine, startedAt: string): string[] {
  const lost = losses(comparison);
  const measured = comparison.measures.some(({ peer }) => peer === OURS);
  return [
    '## Beside its peers, in one run',
    introduction(comparison, machine, startedAt),
    '![CPU per request by server and model](performance/cpu.svg)',
    '![Throughput by server and model](performance/throughput.svg)',
    '### Aims',
    aims(comparison),
    '### Where Marline loses',
    lost.length > 0 ? lost.join('\n') : measured ? 'In no figure below.' : 'It was not measured.',
    ...comparison.models.flatMap((model) => [
      `### ${model.title}`,
      modelTable(comparison, model),
      bodies(comparison, model),
    ]),
    '### The servers',
    serverList(comparison),
    '### How it is measured',
    METHOD,
  ];
}

function introduction(comparison: Comparison, machine: Machine, startedAt: string): string {
  const { measures, runs, void: voided } = comparison;
  const others = measures.map((measure) => measure.others);
  const steal = measures.map((measure) => measure.steal);
  const cores = (values: readonly number[]) =>
    `${digits(median(values))} (at most ${digits(Math.max(...values))})`;
  const lines = [
    `${rounds(comparison)} on ${startedAt.slice(0, 10)}, commit ${machine.commit}: ${machine.cores} shared cores (${machine.cpu}), ${machine.memoryGb} GB,`,
    `Linux ${machine.kernel}, Node.js ${machine.node}, ONNX Runtime ${machine.onnxruntime}, Fastify ${machine.fastify}, Java ${machine.java}, wrk ${machine.wrk}.`,
    `Load average before the run ${digits(machine.load)}; while a server was measured, everything else on the machine used ${cores(others)} cores,`,
    `and its host took away ${cores(steal)}.`,
    `Figures are medians (range) over the rounds. ${comparison.difference === 0 ? "Every answer was the raw loop's to the last bit." : `No answer differed from the raw loop's by more than ${comparison.difference.toExponential(0)} of the largest number.`}`,
  ];
  if (median(others) > QUIET_CORES) {
    lines.push(
      '**The machine was not quiet: times and rates are worth little, CPU per request somewhat more.**',
    );
  }
  if (runs.length > 1) lines.push(`The run was interrupted and taken up again (${runs.length - 1}).`);
  const hit = [...new Set(voided.map(({ model, peer }) => `${peer} on ${model}`))];
  if (hit.length > 0)
    lines.push(`${voided.length} measurements are void: requests failed (${hit.join(', ')}).`);
  return lines.join('\n');
}

/** "10 interleaved rounds", or how many of which models. */
function rounds({ models, measures }: Comparison): string {
  const titles = new Map<number, string[]>();
  for (const { name, title } of models) {
    const count = new Set(measures.filter(({ model }) => model === name).map(({ round }) => round)).size;
    titles.set(count, [...(titles.get(count) ?? []), title]);
  }
  const counts = [...titles].map(([count, of]) =>
    titles.size === 1 ? `${count}` : `${count} (${of.join(', ')})`,
  );
  return `${counts.join(' and ')} interleaved rounds`;
}

function modelTable(comparison: Comparison, model: BenchModel): string {
  const rows = [
    { id: RAW, title: 'limit R: raw ONNX Runtime loop', ours: false },
    ...comparison.peers(model).map(({ id, title, kind }) => ({ id, title, ours: kind === 'ours' })),
  ].map(({ id, title, ours }) => {
    const series = (connections: number, pick: Pick) => comparison.series(model, id, connections, pick);
    const each = (pick: Pick) =>
      CONNECTIONS.toSorted((a, b) => a - b)
        .map((connections) => digits(median(series(connections, pick).values())))
        .join(' / ');
    const limit = id === RAW || id === 'F';
    return [
      ours ? `**${title}**` : title,
      spread(series(8, cpuMs)),
      limit ? '' : spread(comparison.multiple(model, id)),
      each(perSecond),
      spread(series(8, perSecond)),
      limit ? '' : spread(ratio(series(8, perSecond), comparison.series(model, RAW, 8, perSecond))),
      each(p50),
      each(p99),
      digits(comparison.memory(model, id)?.pssMb ?? Number.NaN),
      id === RAW
        ? ''
        : spread(new Map((comparison.server(model, id)?.startMs ?? []).map((ms, at) => [at, ms / 1000]))),
    ];
  });
  const header = ['server', 'CPU ms/request', '× (R + F)', 'requests/s at 1 / 8 / 32', 'at 8, with range'];
  header.push('÷ R', 'p50 ms at 1 / 8 / 32', 'p99 ms at 1 / 8 / 32', 'PSS MB', 'cold start s');
  return table(header, rows);
}

function bodies(comparison: Comparison, model: BenchModel): string {
  const says = new Map<string, string[]>();
  for (const { id, title, kind } of comparison.peers(model)) {
    const text = comparison.server(model, id)?.says;
    if (text === undefined || kind === 'limit') continue;
    says.set(text, [...(says.get(text) ?? []), title]);
  }
  const size = model.inputs
    .map(({ name, shape, datatype }) => `${name} ${datatype} [${shape.join(', ')}]`)
    .join(', ');
  const missing = comparison.failures
    .filter((failure) => failure.model === model.name)
    .map(({ peer, reason }) => ` Left out: ${peer} (${reason})`);
  return `Inputs ${size}. Bodies: ${[...says].map(([text, titles]) => `${text} (${titles.join(', ')})`).join('; ')}.${missing.join('')}`;
}

function serverList(comparison: Comparison): string {
  const measured = new Set(comparison.measures.map(({ peer }) => peer));
  return [
    '- limit R: ONNX Runtime in two worker threads of Node.js, one session each, nothing else; includes making the tensor. At one connection one worker runs.',
    ...PEERS.filter(({ id }) => measured.has(id)).map(({ title, about }) => `- ${title}: ${about}`),
  ].join('\n');
}

const METHOD = `\`npm run bench -- peers\` sets up what is missing (virtual environments below \`.marline/peers\`, models below
\`.marline/bench-models\`; wrk, Java 17 and Debian's python3-venv must be installed), measures, and writes this part of the page.
\`ROUNDS\`, \`SECONDS\`, \`MODELS\` and \`PEERS\` select, \`RESUME=1\` takes up an interrupted run, \`npm run bench -- peers -- report\`
only writes the page again. The results of every round stay in \`.marline/peers/results/latest.jsonl\`.

- Every server runs the same ONNX file in ONNX Runtime 1.30.0: two workers (naive Fastify: one), one session each, one intra-op
  thread, no spinning, no batching unless its name says so. Each gets the tensor in the most direct form that its own interface offers for HTTP.
- Before anything is timed, the answer of every server is compared with the raw loop's: within 0.001 of the largest number.
- The servers of one model run side by side; whichever is not measured is stopped (SIGSTOP, its whole process tree). Rounds run
  forwards and backwards in turns (ABBA). A server is warmed up once until its CPU per request no longer
  falls (6 to 20 s), and for 0.25 s each time that it is woken. V8 compiles what has run some thousand times, and drops
  what has not run for half a minute: servers in JavaScript are warmed up on a stand-in of the model that costs nothing, for 8 s
  first and for 1 s each time that they are woken.
- wrk with one thread keeps 8, 1 and 32 connections busy. No new request is sent after the time is over, and the measurement ends
  with the last answer: the CPU time (user + system of the whole process tree) and the requests counted belong together.
- Beside each aim stands the same figure of the least that a server of Marline's shape can be, with worker threads (limit T) and, for
  one run at a time, without them (naive Fastify): what both miss, no server of that shape in Node.js reaches on this machine.
- CPU per request is read at 8 connections. Ratios are formed within a round. Latencies are wrk's; a p99 is the median of the
  rounds' p99, which with a slow model is close to the largest of a few dozen.
- A cold start lasts from the start of the process to its first answer to a prediction; files are in the page cache. Packing
  an archive is not part of it.`;
