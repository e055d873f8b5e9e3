import { randomUUID } from 'node:crypto';
import {
  validateHeaderName,
  validateHeaderValue,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Header } from '#libs/common';

/** What TorchServe writes before a body. */
export interface ResponseHead {
  readonly status: number;
  /** Reason phrase; the standard one when not given. */
  readonly reason?: string;
  /** In the letter case in which they go out. Those that belong to the server or the connection are left out. */
  readonly headers?: readonly Header[];
  /** The `x-request-id`; a fresh UUID when not given. */
  readonly requestId?: string;
}

/** Fields that are the server's: a handler's value would break the connection or the contract. */
const SERVER_FIELDS = new Set(
  [
    'connection',
    'content-length',
    'keep-alive',
    'proxy-connection',
    'trailer',
    'transfer-encoding',
    'upgrade',
  ].concat(['cache-control', 'expires', 'pragma', 'x-request-id']),
);
const CACHE_FIELDS: readonly Header[] = [
  ['Pragma', 'no-cache'],
  ['Cache-Control', 'no-cache; no-store, must-revalidate, private'],
  ['Expires', 'Thu, 01 Jan 1970 00:00:00 UTC'],
];
// What Fastify calls a buffer that nobody described; TorchServe says nothing about those.
const FASTIFY_DEFAULT_TYPE = 'application/octet-stream';
const AWAITED_BYTES = 64 * 1024;

const closesOnError = new WeakSet<FastifyInstance>();

/** Makes error answers end their connection, as TorchServe's do. Only for a standalone server: behind a gateway connections are the host's. */
export function closeConnectionsOnError(fastify: FastifyInstance): void {
  closesOnError.add(fastify);
}

/**
 * Sends a body as it is, with TorchServe's head: its cache fields, `x-request-id`, and no content type unless
 * `head` has one. Hooks of the host see the reply before it goes out.
 */
export function sendBody(reply: FastifyReply, head: ResponseHead, body: Buffer | Readable): void {
  const fields = new Map<string, Header>();
  for (const field of head.headers ?? []) {
    if (isSendable(field)) fields.set(field[0].toLowerCase(), field);
  }
  for (const field of [['x-request-id', head.requestId ?? randomUUID()] as const, ...CACHE_FIELDS])
    fields.set(field[0].toLowerCase(), field);
  for (const [name, value] of fields.values()) reply.header(name, value);
  reply.code(head.status);
  shapeHead(reply.raw, fields, head.reason);
  if (head.status >= 400 && closesOnError.has(reply.server)) sendAndClose(reply, body);
  else reply.send(body);
}

/** Sends JSON as TorchServe's front end writes it: two blanks of indentation and a final line feed. */
export function sendJson(reply: FastifyReply, status: number, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
  sendBody(reply, { status, headers: [['content-type', 'application/json']] }, body);
}

/** Sends a status alone, as TorchServe answers a request that it did not look at. */
export function sendBareStatus(reply: FastifyReply, status: number): void {
  // The rest of a body without a declared length may never end.
  if (reply.request.headers['transfer-encoding'] !== undefined) reply.header('connection', 'close');
  reply.code(status).send();
}

function isSendable([name, value]: Header): boolean {
  if (SERVER_FIELDS.has(name.toLowerCase())) return false;
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}

// Closing while the client still sends would reset the connection and lose the answer: a short rest of the request is
// awaited, and for a long one the connection stays.
function sendAndClose(reply: FastifyReply, body: Buffer | Readable): void {
  const { raw, headers } = reply.request;
  const length =
    headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : Infinity;
  const close = () => void reply.header('connection', 'close').send(body);
  if (raw.complete || length === 0) close();
  else if (length <= AWAITED_BYTES) raw.resume().once('end', close);
  else reply.send(body);
}

// Node takes an empty reason phrase only as an argument, and Fastify lower-cases names: both are settled at the last moment, after all hooks.
function shapeHead(
  raw: ServerResponse,
  fields: ReadonlyMap<string, Header>,
  reason: string | undefined,
): void {
  const writeHead = raw.writeHead.bind(raw) as (status: number, ...rest: unknown[]) => ServerResponse;
  const isDescribed = fields.has('content-type');
  const shaped = (status: number, ...rest: unknown[]): ServerResponse => {
    const given = rest.at(-1);
    const headers: OutgoingHttpHeaders = { ...raw.getHeaders(), ...(typeof given === 'object' ? given : {}) };
    for (const name of raw.getHeaderNames()) raw.removeHeader(name);
    if (!isDescribed && headers['content-type'] === FASTIFY_DEFAULT_TYPE) delete headers['content-type'];
    const cased = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [fields.get(name)?.[0] ?? name, value]),
    );
    return reason === undefined ? writeHead(status, cased) : writeHead(status, printable(reason), cased);
  };
  raw.writeHead = shaped;
}

function printable(reason: string): string {
  return reason.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, ' ');
}
