import { isIPv6 } from 'node:net';
import { normalize } from 'node:path';
import { MarlineError } from '#libs/common';

/** A host and a port. Port 0 lets the system choose a free one. */
export interface TcpAddress {
  readonly host: string;
  readonly port: number;
  /** True speaks TLS. */
  readonly secure: boolean;
}

/** A Unix socket. */
export interface UnixAddress {
  /** Absolute. */
  readonly path: string;
}

/** Where a listener binds. */
export type ListenAddress = TcpAddress | UnixAddress;

/** The ports of an address that names none. */
export interface DefaultPorts {
  readonly http: number;
  readonly https: number;
}

/** What the kernel has room for, less the final NUL; a longer path would be cut off in silence. */
const MOST_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

/**
 * Reads `http://host[:port]`, `https://host[:port]` or `unix:/path`, TorchServe's forms of an address.
 * @throws MarlineError `OPTIONS_INVALID` for anything else, and for a path that no socket can have
 */
export function parseAddress(text: string, ports: DefaultPorts): ListenAddress {
  if (/^unix:/i.test(text)) return parseUnix(text);
  const match = /^(https?):\/\/(\[[^\]]+\]|[^:/?#\s[\]@]+)(?::(\d+))?\/?$/i.exec(text);
  if (match === null)
    throw invalid(
      `Invalid binding address: ${text}. Write it as http://host:port, such as http://127.0.0.1:8080, as https://host:port, or as unix:/path.`,
    );
  const secure = match[1]!.toLowerCase() === 'https';
  const host = match[2]!.replaceAll(/[[\]]/g, '');
  const port = match[3] === undefined ? ports[secure ? 'https' : 'http'] : Number(match[3]);
  if (port > 65_535)
    throw invalid(`Invalid port number: ${text}. Ports go from 1 to 65535; 0 takes a free one.`);
  return { host, port, secure };
}

function parseUnix(text: string): UnixAddress {
  const path = text.slice('unix:'.length);
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0'))
    throw invalid(
      `Invalid binding address: ${text}. Write the path of the socket in full, such as unix:/run/marline/inference.sock.`,
    );
  const bytes = Buffer.byteLength(path);
  if (bytes > MOST_PATH_BYTES)
    throw invalid(
      `Invalid binding address: ${text}. The path of a socket has at most ${MOST_PATH_BYTES} bytes, this one has ${bytes}: choose a shorter one.`,
    );
  return { path: normalize(path) };
}

/** The address as a URL, or as `unix:/path`. */
export function formatAddress(address: ListenAddress): string {
  if ('path' in address) return `unix:${address.path}`;
  return `${address.secure ? 'https' : 'http'}://${formatHost(address)}`;
}

/** The address as `host:port`. */
export function formatHost({ host, port }: TcpAddress): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** True when only this machine can reach the address. */
export function isLoopback(address: ListenAddress): boolean {
  if ('path' in address) return true;
  const { host } = address;
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** True when two listeners with these addresses would be one. Two addresses with port 0 are two listeners. */
export function sameAddress(a: ListenAddress, b: ListenAddress): boolean {
  if ('path' in a || 'path' in b) return 'path' in a && 'path' in b && a.path === b.path;
  return a.port !== 0 && a.port === b.port && a.host === b.host && a.secure === b.secure;
}

function invalid(reason: string): MarlineError {
  return new MarlineError('OPTIONS_INVALID', { reason });
}
