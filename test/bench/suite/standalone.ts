import { rmSync } from 'node:fs';
import { peersFolder } from '../peers/folders.js';
import type { BenchModel } from '../peers/models.js';
import type { Peer } from '../peers/peer.js';
import { freePorts } from '../peers/rounds.js';
import { HttpServer } from '../peers/server.js';

/** Starts a server of the comparison by itself; resolves with its first good answer and the time it took, in milliseconds. */
export async function startStandalone(
  peer: Peer,
  model: BenchModel,
): Promise<{ server: HttpServer; startMs: number }> {
  const name = `work/suite/${model.name}/${peer.id}`;
  rmSync(peersFolder(name), { recursive: true });
  const folder = peersFolder(name);
  const [port, ...sparePorts] = await freePorts();
  const launch = peer.launch({ model, port, sparePorts, folder, answer: Buffer.alloc(0) });
  return HttpServer.start(launch, port, folder);
}
