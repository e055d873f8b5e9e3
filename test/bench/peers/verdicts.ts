import {
  Comparison,
  cpuMs,
  median,
  p50,
  p99,
  perSecond,
  ratio,
  type Pick,
  type Series,
} from './comparison.js';
import { digits, table } from './format.js';
import type { BenchModel } from './models.js';
import { RAW } from './rounds.js';

/** The server that the aims are about. */
export const OURS = 'marline';
/** Models that have to come near the raw loop's throughput: EfficientNet and larger. */
const LARGE = new Set(['efficientnet', 'minilm', 'resnet50']);

interface Aim {
  readonly what: string;
  readonly asked: string;
  readonly measured: Series;
  readonly met: (value: number) => boolean;
  readonly unit: string;
}

/** The aims of the project, and what was measured of each. */
export function aims(comparison: Comparison): string {
  const rows = comparison.models
    .flatMap((model) => aimsOf(comparison, model))
    .map(({ what, asked, measured, met, unit }) => {
      const value = median(measured.values());
      const [low, high] = [Math.min(...measured.values()), Math.max(...measured.values())];
      return [
        what,
        asked,
        `${digits(value)}${unit} (${digits(low)}–${digits(high)})`,
        met(value) ? 'met' : '**missed**',
      ];
    });
  return table(['aim', 'asked', 'measured', ''], rows);
}

function aimsOf(comparison: Comparison, model: BenchModel): Aim[] {
  const series = (peer: string, connections: number, pick: Pick) =>
    comparison.series(model, peer, connections, pick);
  const most = model.name === 'mlp' ? 1.4 : 1.05;
  const list: Aim[] = [
    {
      what: `${model.title}: CPU per request`,
      asked: `≤ ${most} × (R + F)`,
      measured: comparison.multiple(model, OURS),
      met: (value) => value <= most,
      unit: ' ×',
    },
    {
      what: `${model.title}: latency above R, p50 at 1 connection`,
      asked: '≤ 0.3 ms',
      measured: difference(series(OURS, 1, p50), series(RAW, 1, p50)),
      met: (value) => value <= 0.3,
      unit: ' ms',
    },
  ];
  const against = (peer: string, title: string, times: number) => {
    const measured = ratio(series(OURS, 8, perSecond), series(peer, 8, perSecond));
    if (measured.size === 0) return;
    list.push({
      what: `${model.title}: requests/s at 8 connections ÷ ${title}`,
      asked: `≥ ${times}`,
      measured,
      met: (value) => value >= times,
      unit: ' ×',
    });
  };
  if (model.name === 'mlp') {
    against('torchserve', 'TorchServe', 8);
    against('fastapi', 'FastAPI', 2.5);
  }
  if (LARGE.has(model.name)) against(RAW, 'R', 0.9);
  if (model.body === 'binary') {
    list.push({
      what: `${model.title}: CPU per request of processes ÷ threads`,
      asked: '≤ 1.15',
      measured: ratio(series('marline-process', 8, cpuMs), series(OURS, 8, cpuMs)),
      met: (value) => value <= 1.15,
      unit: ' ×',
    });
  }
  return list.filter(({ measured }) => measured.size > 0);
}

interface Figure {
  readonly name: string;
  readonly of: (peer: string) => Series;
  readonly larger?: boolean;
  readonly unit: string;
}

/** Every figure in which a peer is ahead of Marline, as list items. */
export function losses(comparison: Comparison): string[] {
  return comparison.models.flatMap((model) => {
    const peers = comparison.peers(model).filter(({ kind }) => kind === 'peer');
    return figuresOf(comparison, model).flatMap(({ name, of, larger, unit }) => {
      const own = of(OURS);
      const ahead = peers.flatMap(({ id, title }) => {
        const by = larger === true ? ratio(of(id), own) : ratio(own, of(id));
        if (!(median(by.values()) > 1)) return [];
        const won = [...by.values()].filter((value) => value > 1).length;
        const rounds = by.size > 1 ? `, ahead in ${won} of ${by.size} rounds` : '';
        return [`${title} ${digits(median(of(id).values()))}${unit}${rounds}`];
      });
      if (ahead.length === 0) return [];
      return [
        `- ${model.title}, ${name}: Marline ${digits(median(own.values()))}${unit}; ${ahead.join('; ')}`,
      ];
    });
  });
}

function figuresOf(comparison: Comparison, model: BenchModel): Figure[] {
  const measured = (connections: number, pick: Pick) => (peer: string) =>
    comparison.series(model, peer, connections, pick);
  const once = (value: number | undefined): Series => new Map(value === undefined ? [] : [[0, value]]);
  return [
    { name: 'CPU per request', of: measured(8, cpuMs), unit: ' ms' },
    ...[1, 8, 32].map((connections) => ({
      name: `requests/s at ${connections}`,
      of: measured(connections, perSecond),
      larger: true,
      unit: '',
    })),
    { name: 'p50 at 1', of: measured(1, p50), unit: ' ms' },
    { name: 'p99 at 8', of: measured(8, p99), unit: ' ms' },
    { name: 'memory (PSS)', of: (peer) => once(comparison.memory(model, peer)?.pssMb), unit: ' MB' },
    {
      name: 'cold start',
      of: (peer) => once(median(comparison.server(model, peer)?.startMs ?? [])),
      unit: ' ms',
    },
  ];
}

function difference(series: Series, from: Series): Series {
  const rounds = [...series].filter(([round]) => from.has(round));
  return new Map(rounds.map(([round, value]) => [round, value - (from.get(round) ?? Number.NaN)]));
}
