import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MarlineError } from '#libs/common';
import { formatAddress, type ListenAddress } from './address.js';
import { removeStaleSocket } from './unix-socket.js';

const SWEEP_INTERVAL_MS = 50;

/**
 * Binds a server. What an ended process left of its socket is removed first.
 * @param key the setting that the address comes from, for the message when it fails
 * @returns the address that was bound, with the port that the system chose in place of 0
 * @throws MarlineError `OPTIONS_INVALID` that says why the address cannot be used
 */
export async function listen(server: Server, address: ListenAddress, key: string): Promise<ListenAddress> {
  try {
    if ('path' in address) await removeStaleSocket(address.path);
    server.listen({ ...address, exclusive: true });
    await once(server, 'listening');
  } catch (error) {
    const why = 'path' in address ? explainSocket(error) : explain(error);
    const reason = `${key}=${formatAddress(address)} cannot be bound: ${why}`;
    throw new MarlineError('OPTIONS_INVALID', { reason }, { cause: error });
  }
  return 'path' in address ? address : { ...address, port: (server.address() as AddressInfo).port };
}

/**
 * Finds out whether an address can be bound, before models are loaded for nothing.
 * @throws MarlineError as {@link listen} does
 */
export async function checkAddress(address: ListenAddress, key: string): Promise<void> {
  const probe = createServer();
  await listen(probe, address, key);
  probe.close();
  await once(probe, 'close');
}

/**
 * Stops accepting connections and resolves when all are closed: idle ones at once, the others with their answer,
 * or after `graceMs`.
 */
export async function closeListener(server: Server, graceMs: number): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  // A kept-alive connection becomes idle only after its answer, and nothing else would close it then.
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_INTERVAL_MS);
  const deadline = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearInterval(sweep);
  clearTimeout(deadline);
}

function explain(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return 'the port is in use. Stop the other server, or choose another port.';
    case 'EACCES':
      return 'this user may not use the port. Choose one above 1023.';
    case 'EADDRNOTAVAIL':
      return 'this machine does not have the address.';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the host name is not known.';
    default:
      return (error as Error).message;
  }
}

function explainSocket(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return 'a server listens there. Stop it, or choose another path.';
    case 'EEXIST':
      return 'there is a file which is no socket. Choose another path, or move the file away.';
    // Node says so for a folder that is not there, too.
    case 'EACCES':
    case 'ENOTDIR':
      return 'its folder is not there, or this user may not write into it.';
    default:
      return (error as Error).message;
  }
}
