import type { RequestListener, Server } from 'node:http';
import { createServer } from 'node:https';
import type { Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { LISTENER } from '#libs/inference';

/** Time for a client to begin a handshake, and then to end it. */
const HANDSHAKE_MS = 10_000;
/** Time for the answer to a client without TLS to reach it. */
const REFUSAL_MS = 1_000;
/** The first byte of whoever speaks TLS. */
const TLS_HANDSHAKE = 0x16;

const REFUSAL_BODY = `${JSON.stringify({ status: 'This TorchServe instance only accepts HTTPS requests' }, null, 2)}\n`;
/** TorchServe's answer to a request without TLS. */
const REFUSAL = [
  'HTTP/1.1 403 Forbidden',
  'content-type: application/json',
  'Pragma: no-cache',
  'Cache-Control: no-cache; no-store, must-revalidate, private',
  'Expires: Thu, 01 Jan 1970 00:00:00 UTC',
  `content-length: ${REFUSAL_BODY.length}`,
  'connection: close',
  '',
  REFUSAL_BODY,
].join('\r\n');

/**
 * A server that speaks TLS 1.2 and 1.3. Who speaks plain HTTP to it is told so, as in TorchServe; who fails to shake hands is
 * disconnected.
 */
export function createTlsServer(credentials: SecureContextOptions, listener: RequestListener): Server {
  const options = {
    ...credentials,
    ...LISTENER,
    minVersion: 'TLSv1.2',
    handshakeTimeout: HANDSHAKE_MS,
  } as const;
  const server = createServer(options, listener);
  // Otherwise Node takes a failed handshake for malformed HTTP, which would be answered.
  server.removeAllListeners('tlsClientError');
  server.on('tlsClientError', (_error, socket) => socket.destroy());

  const open = new Set<Socket>();
  const shakeHands = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    onFirstByte(socket, (byte) => {
      if (byte === TLS_HANDSHAKE) for (const each of shakeHands) each.call(server, socket);
      else refuse(socket);
    });
  });
  const closeAll = server.closeAllConnections.bind(server);
  // Node's own knows no connection before the end of its handshake, and the server would not close while there is one.
  server.closeAllConnections = () => {
    closeAll();
    for (const socket of open) socket.destroy();
  };
  return server;
}

/** Tells the first byte that comes, and leaves it in its place. */
function onFirstByte(socket: Socket, told: (byte: number) => void): void {
  const giveUp = () => socket.destroy();
  socket.on('error', giveUp);
  socket.setTimeout(HANDSHAKE_MS, giveUp);
  socket.once('readable', () => {
    const first = socket.read(1) as Buffer | null;
    if (first === null) return giveUp();
    socket.setTimeout(0, giveUp);
    socket.unshift(first);
    told(first[0]!);
  });
}

/** What was sent is read to its end: a connection that is closed before may lose the answer. */
function refuse(socket: Socket): void {
  const limit = setTimeout(() => socket.destroy(), REFUSAL_MS);
  socket.once('close', () => clearTimeout(limit));
  socket.resume().end(REFUSAL);
}
