import { createServer, type AddressInfo, type Server } from 'node:net';
import type { WorkerAddress } from './worker-command.js';

const HOST = '127.0.0.1';
const TRIES = 20;

/** The options with which rank `rank` of the worker at `address` is connected to: its number is that of rank 0 and its own. */
export function rankAddress(
  address: WorkerAddress,
  rank: number,
): { path: string } | { port: number; host: string } {
  if ('port' in address) return { port: address.port + rank, host: HOST };
  const at = address.path.lastIndexOf('.') + 1;
  return { path: address.path.slice(0, at) + String(Number(address.path.slice(at)) + rank) };
}

/** The first of `count` ports in a row that were free a moment ago: a worker can only be told which ones to take. */
export async function freePorts(count: number): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    const servers: Server[] = [];
    try {
      const first = await listen(0);
      servers.push(first);
      const { port } = first.address() as AddressInfo;
      while (servers.length < count) servers.push(await listen(port + servers.length));
      return port;
    } catch (error) {
      if (tries === TRIES) throw error;
    } finally {
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    }
  }
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, HOST, () => resolve(server));
  });
}
