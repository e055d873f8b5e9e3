import { MODELS, type BenchModel } from './models.js';
import type { Peer } from './peer.js';
import { PEERS } from './peers/all.js';
import type {
  FailureRecord,
  MeasureRecord,
  MemoryRecord,
  ResultRecord,
  RunRecord,
  ServerRecord,
} from './results.js';
import { RAW } from './rounds.js';

/** A run with more failed requests than this share is void. */
const ERROR_SHARE = 0.001;

/** A figure of one server, by round. */
export type Series = ReadonlyMap<number, number>;
/** What of a measurement. */
export type Pick = (measure: MeasureRecord) => number;

export const cpuMs: Pick = ({ cpu, requests }) => (cpu * 1000) / requests;
export const perSecond: Pick = ({ requests, seconds }) => requests / seconds;
export const p50: Pick = (measure) => measure.p50;
export const p99: Pick = (measure) => measure.p99;

/** The middle value, or the mean of the two. NaN of nothing. */
export function median(values: Iterable<number>): number {
  const sorted = [...values].toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** Two series of the same rounds, one by the other. */
export function ratio(series: Series, by: Series): Series {
  const rounds = [...series].filter(([round]) => by.has(round));
  return new Map(rounds.map(([round, value]) => [round, value / (by.get(round) ?? Number.NaN)]));
}

/** What a run measured, by model, server and number of connections. */
export class Comparison {
  readonly runs: readonly RunRecord[];
  readonly measures: readonly MeasureRecord[];
  readonly failures: readonly FailureRecord[];
  /** Measurements that do not count, because requests failed. */
  readonly void: readonly MeasureRecord[];
  private readonly servers: readonly ServerRecord[];
  private readonly memories: readonly MemoryRecord[];

  constructor(records: readonly ResultRecord[]) {
    const of = <T extends ResultRecord['type']>(type: T) =>
      records.filter((record): record is Extract<ResultRecord, { type: T }> => record.type === type);
    const isVoid = ({ errors, requests }: MeasureRecord) => errors > requests * ERROR_SHARE;
    this.runs = of('run');
    this.measures = of('measure').filter((measure) => !isVoid(measure));
    this.void = of('measure').filter(isVoid);
    this.failures = of('failure');
    this.servers = of('server');
    this.memories = of('memory');
  }

  /** The models that were measured. */
  get models(): readonly BenchModel[] {
    return MODELS.filter(({ name }) => this.measures.some(({ model }) => model === name));
  }

  /** The servers that were measured for a model. */
  peers(model: BenchModel): readonly Peer[] {
    return PEERS.filter(({ id }) => this.series(model, id, 8, cpuMs).size > 0);
  }

  /** The largest difference of an answer from the raw loop's, as a share of the largest number. */
  get difference(): number {
    return Math.max(0, ...this.servers.map(({ difference }) => difference));
  }

  series(model: BenchModel, peer: string, connections: number, pick: Pick): Series {
    const own = this.measures.filter(
      (measure) =>
        measure.model === model.name && measure.peer === peer && measure.connections === connections,
    );
    return new Map(own.map((measure) => [measure.round, pick(measure)]));
  }

  /** R + F: the CPU time, in milliseconds, that no server of this kind can go below. */
  limit(model: BenchModel): Series {
    const raw = this.series(model, RAW, 8, cpuMs);
    const floor = this.series(model, 'F', 8, cpuMs);
    const both = [...raw].filter(([round]) => floor.has(round));
    return new Map(both.map(([round, value]) => [round, value + (floor.get(round) ?? Number.NaN)]));
  }

  /** CPU per request as a multiple of R + F, round by round. */
  multiple(model: BenchModel, peer: string): Series {
    return ratio(this.series(model, peer, 8, cpuMs), this.limit(model));
  }

  server(model: BenchModel, peer: string): ServerRecord | undefined {
    return this.servers.findLast((server) => server.model === model.name && server.peer === peer);
  }

  memory(model: BenchModel, peer: string): MemoryRecord | undefined {
    return this.memories.findLast((memory) => memory.model === model.name && memory.peer === peer);
  }
}
