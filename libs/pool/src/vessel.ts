import type { MarlineError } from '#libs/common';
import type { Channel } from './channel.js';
import type { OutputStream } from './line-quota.js';
import type { PacketReader } from './packet.js';

/** What holds a worker's code and can be ended from outside: a thread or a process. */
export interface Vessel {
  readonly pid: number;
  readonly channel: Channel;
  /** Ends it, unless that is not safe now: then false is returned, and this is to be called again. */
  tryEnd(): boolean;
}

/** What a vessel tells the one who made it. */
export interface VesselEvents {
  received(packet: PacketReader): void;
  /** What its code prints. Where it is absent that goes where the output of this process goes. */
  readonly printed?: (stream: OutputStream, chunk: Buffer) => void;
  /** The vessel is gone, and every packet it sent was told. `error` says how it ended, with the cause. */
  exited(error: MarlineError): void;
}

/** What of the process's environment a worker sees: code of archives runs there, and secrets are none of its business. */
const VISIBLE_ENV = ['TZ', 'LANG', 'LC_ALL', 'NODE_ENV', 'TMPDIR'] as const;

/** The variables called `names`, and those that every worker sees, as they are in this process. */
export function visibleEnv(names: readonly string[] = []): Record<string, string> {
  return envOf([...VISIBLE_ENV, ...names]);
}

/** The variables called `names` and no others, as they are in this process; one that is not set is left out. */
export function envOf(names: readonly string[]): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of names) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}
