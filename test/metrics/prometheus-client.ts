import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('read_metrics.py', import.meta.url));

/** A metric as Prometheus' client for Python reads it; of counters it takes the suffix `_total` off. */
export interface ReadMetric {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
  }[];
}

/** @throws Error with what Prometheus' client says about a text that it cannot read */
export function readMetrics(python: string, text: string): ReadMetric[] {
  const { status, stdout, stderr } = spawnSync(python, [PROGRAM], { input: text, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as ReadMetric[];
}
