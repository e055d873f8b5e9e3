import { isIPv6 } from 'node:net';
import { MarlineError } from '#libs/common';

/** Where a listener binds. Port 0 lets the system choose a free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Reads `http://host[:port]`, TorchServe's form of an address.
 * @param defaultPort the port of an address that names none
 * @throws MarlineError `OPTIONS_INVALID` for anything else; `https://` and `unix:` are named as not supported
 */
export function parseAddress(text: string, defaultPort: number): ListenAddress {
  if (/^(https:|unix:)/i.test(text)) {
    throw invalid(
      `${text} is not supported by this version: it listens on http://host:port only. Put a TLS proxy in front.`,
    );
  }
  const match = /^http:\/\/(\[[^\]]+\]|[^:/?#\s[\]@]+)(?::(\d+))?\/?$/i.exec(text);
  if (match === null)
    throw invalid(
      `Invalid binding address: ${text}. Write it as http://host:port, such as http://127.0.0.1:8080.`,
    );
  const host = match[1]!.replaceAll(/[[\]]/g, '');
  const port = match[2] === undefined ? defaultPort : Number(match[2]);
  if (port > 65_535)
    throw invalid(`Invalid port number: ${text}. Ports go from 1 to 65535; 0 takes a free one.`);
  return { host, port };
}

/** The address as a URL. */
export function formatAddress(address: ListenAddress): string {
  return `http://${formatHost(address)}`;
}

/** The address as `host:port`. */
export function formatHost({ host, port }: ListenAddress): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** True when only this machine can reach the address. */
export function isLoopback({ host }: ListenAddress): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** True when two listeners with these addresses would be one. Two addresses with port 0 are two listeners. */
export function sameAddress(a: ListenAddress, b: ListenAddress): boolean {
  return a.port !== 0 && a.port === b.port && a.host === b.host;
}

function invalid(reason: string): MarlineError {
  return new MarlineError('OPTIONS_INVALID', { reason });
}
