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

/** The least that servers like it can be, with threads and without: what they miss, no server of that shape reaches on this machine. */
const LEAST = { 'limit T': 'T', 'naive Fastify': 'fastify' } as const;

interface Aim {
  readonly what: string;
  readonly asked: string;
  /** The figure of a server. */
  readonly of: (server: string) => Series;
  readonly met: (value: number) => boolean;
  readonly unit: string;
}

/** The aims of the project, and what was measured of each. */
export function aims(comparison: Comparison): string {
  const rows = comparison.models
    .flatMap((model) => aimsOf(comparison, model))
    .map(({ what, asked, of, met, unit }) => {
      const measured = of(OURS);
      const value = median(measured.values());
      const [low, high] = [Math.min(...measured.values()), Math.max(...measured.values())];
      return [
        what,
        asked,
        `${digits(value)}${unit} (${digits(low)}–${digits(high)})`,
        met(value) ? 'met' : '**missed**',
        ...Object.values(LEAST).map((server) => {
          const values = [...of(server).values()];
          return values.length === 0 ? '' : `${digits(median(values))}${unit}`;
        }),
      ];
    });
  return table(['aim', 'asked', 'measured', '', ...Object.keys(LEAST)], rows);
}

function aimsOf(comparison: Comparison, model: BenchModel): Aim[] {
  const series = (peer: string, connections: number, pick: Pick) =>
    comparison.series(model, peer, connections, pick);
  const most = model.name === 'mlp' ? 1.4 : 1.05;
  const list: Aim[] = [
    {
      what: `${model.title}: CPU per request`,
      asked: `≤ ${most} × (R + F)`,
      of: (server) => comparison.multiple(model, server),
      met: (value) => value <= most,
      unit: ' ×',
    },
    {
      what: `${model.title}: latency above R, p50 at 1 connection`,
      asked: '≤ 0.3 ms',
      of: (server) => difference(series(server, 1, p50), series(RAW, 1, p50)),
      met: (value) => value <= 0.3,
      unit: ' ms',
    },
  ];
  const against = (peer: string, title: string, times: number) => {
    list.push({
      what: `${model.title}: requests/s at 8 connections ÷ ${title}`,
      asked: `≥ ${times}`,
      of: (server) => ratio(series(server, 8, perSecond), series(peer, 8, perSecond)),
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
      of: (server) =>
        server === OURS ? ratio(series('marline-process', 8, cpuMs), series(OURS, 8, cpuMs)) : new Map(),
      met: (value) => value <= 1.15,
      unit: ' ×',
    });
  }
  return list.filter(({ of }) => of(OURS).size > 0);
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
