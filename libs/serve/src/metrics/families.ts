import type { Registry } from 'prom-client';
import type { MetricFamily } from './metric-family.js';

/** Marline's metrics in a registry of prom-client, which may be that of the application with metrics of its own. */
export class Families {
  readonly #names = new Set<string>();

  constructor(private readonly registry: Registry) {}

  /** @returns false when the registry has a metric of that name, which then stays as it is */
  add(family: MetricFamily): boolean {
    // Also what every object has, such as "constructor": a registry keeps its metrics in a plain one.
    if (this.registry.getSingleMetric(family.name) !== undefined) return false;
    this.registry.registerMetric(family.metric);
    this.#names.add(family.name);
    return true;
  }

  /** Takes them out of the registry again. */
  removeAll(): void {
    for (const name of this.#names) this.registry.removeSingleMetric(name);
    this.#names.clear();
  }

  /**
   * The text format of Prometheus: Marline's metrics alone, whatever else is in the registry.
   * @param names of the samples that are wanted; all of them, and metrics without any, by default
   */
  async text(names?: ReadonlySet<string>): Promise<string> {
    const wanted = [...this.#names].filter((name) => names === undefined || hasSample(names, name));
    const texts = await Promise.all(wanted.map((name) => this.registry.getSingleMetricAsString(name)));
    const lines = texts.flatMap((text) => (names === undefined ? [text] : only(names, text)));
    return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
  }
}

function hasSample(names: ReadonlySet<string>, family: string): boolean {
  return ['', '_bucket', '_sum', '_count'].some((suffix) => names.has(`${family}${suffix}`));
}

/** The lines of a metric that have one of these names, below what describes it; nothing when none has. */
function only(names: ReadonlySet<string>, text: string): string[] {
  const lines = text.split('\n');
  const samples = lines.filter(
    (line) => !line.startsWith('# ') && names.has(line.split(/[{ ]/, 1)[0] as string),
  );
  return samples.length === 0 ? [] : [...lines.filter((line) => line.startsWith('# ')), ...samples];
}
