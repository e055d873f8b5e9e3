/** One metric of a text in Prometheus' format. */
interface ComparableMetric {
  readonly type: string;
  readonly help: string;
  /** Values by name and labels, whatever the order of the labels. */
  readonly samples: Readonly<Record<string, number | 'any'>>;
}

/** Times, sizes and percentages; and of the run with counted answers the recording left out some requests. */
const OF_THE_MACHINE = /Time$|latency|^CPU|^Memory|^Disk|^GPU|^Requests2XX$/;
/** Ours beside TorchServe's. */
const OUR_OWN = 'marline_';

const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** What is compared of `/metrics`: names, types, help, labels and counts; TorchServe's own order is that of a hash table. */
export function comparableMetrics(text: string): Readonly<Record<string, ComparableMetric>> {
  const metrics: Record<string, { type: string; help: string; samples: Record<string, number | 'any'> }> = {};
  let current = '';
  for (const line of text.split('\n').filter((line) => line !== '')) {
    const [, kind = '', name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === 'HELP') metrics[(current = name)] = { help: rest, type: '', samples: {} };
    const metric = metrics[current];
    if (metric === undefined) throw new Error(`A sample of no metric: ${line}`);
    if (kind === 'TYPE') metric.type = rest;
    if (kind !== '') continue;
    const [, sample = '', labels = '', value = ''] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (sample === '') throw new Error(`A line that is none of the format: ${line}`);
    const sorted = Array.from(labels.matchAll(LABEL), ([pair]) => pair).toSorted();
    metric.samples[`${sample}{${sorted.join()}}`] = OF_THE_MACHINE.test(current) ? 'any' : Number(value);
  }
  return Object.fromEntries(Object.entries(metrics).filter(([name]) => !name.startsWith(OUR_OWN)));
}
