import { randomUUID } from 'node:crypto';
import {
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Header } from '#libs/common';
import { requestIdFor } from './request-id.js';

/** What is written before a body. */
export interface ResponseHead {
  readonly status: number;
  /** Reason phrase; the standard one when not given. */
  readonly reason?: string;
  /** In the letter case in which they go out. Those that belong to the server or the connection are left out. */
  readonly headers?: readonly Header[];
  /** True leaves out what only TorchServe does, for routes that are not its own: cache fields, and the end of the connection after an error. */
  readonly native?: boolean;
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
/** Letter case in which TorchServe writes its own fields. */
const CASED: Readonly<Record<string, string>> = {
  __proto__: null as never,
  pragma: 'Pragma',
  'cache-control': 'Cache-Control',
  expires: 'Expires',
};
const NEVER_CACHED = {
  pragma: 'no-cache',
  'cache-control': 'no-cache; no-store, must-revalidate, private',
  expires: 'Thu, 01 Jan 1970 00:00:00 UTC',
} as const;
// What Fastify calls a buffer and a text that nobody described; TorchServe says nothing about those.
const FASTIFY_DEFAULT_TYPES: readonly unknown[] = ['application/octet-stream', 'text/plain; charset=utf-8'];
const UNKNOWN_TO_TORCHSERVE: ReadonlySet<number> = new Set([418, 451, 508, 509]);
const JSON_TYPE: readonly Header[] = [['content-type', 'application/json']];
const PAYLOAD_TOO_LARGE = 413;
const AWAITED_BYTES = 64 * 1024;

const closesOnError = new WeakSet<FastifyInstance>();

/** Makes error answers of TorchServe's routes end their connection, as its do. Only for a standalone server: behind a gateway connections are the host's. */
export function closeConnectionsOnError(fastify: FastifyInstance): void {
  closesOnError.add(fastify);
}

const ON_ANSWER = Symbol('marline.onAnswer');

interface TellingInstance extends FastifyInstance {
  [ON_ANSWER]?: (status: number) => void;
}

/**
 * Tells the status of every answer that is sent with a head of ours, before it goes out; a bare status is none.
 * A property and not a hook of Fastify: that would cost each request two listeners, and the host's routes too.
 */
export function tellAnswers(fastify: FastifyInstance, told: (status: number) => void): void {
  (fastify as TellingInstance)[ON_ANSWER] = told;
}

/**
 * Sends a body as it is, with TorchServe's head: its cache fields, `x-request-id`, and no content type unless
 * `head` has one. Hooks of the host see the reply before it goes out; a text goes out as UTF-8.
 */
export function sendBody(reply: FastifyReply, head: ResponseHead, body: Buffer | string | Readable): void {
  const names =
    head.headers === undefined || head.headers.length === 0 ? undefined : addFields(reply, head.headers);
  reply.header('x-request-id', requestIdFor(reply.raw));
  if (head.native !== true) {
    reply.header('pragma', NEVER_CACHED.pragma);
    reply.header('cache-control', NEVER_CACHED['cache-control']);
    reply.header('expires', NEVER_CACHED.expires);
  }
  reply.code(head.status);
  (reply.server as TellingInstance)[ON_ANSWER]?.(head.status);
  // Fastify adds a charset to the type of a text unless something serialises it.
  if (names?.has('content-type') === true && typeof body === 'string') reply.serializer(asItIs);
  shapeHead(reply.raw as ShapedResponse, names, head.reason);
  if (head.status >= 400 && head.native !== true && closesOnError.has(reply.server))
    sendAndClose(reply, body);
  else reply.send(body);
}

/**
 * Sends JSON as TorchServe's front end writes it: two blanks of indentation and a final line feed.
 * @param reason the reason phrase; TorchServe's own for the status by default
 */
export function sendJson(
  reply: FastifyReply,
  status: number,
  value: unknown,
  reason = reasonOf(status),
): void {
  const body = `${JSON.stringify(value, null, 2)}\n`;
  sendBody(reply, { status, headers: JSON_TYPE, reason }, body);
}

/** All of an error answer of TorchServe's, for a socket on which no request could be read. It ends the connection. */
export function errorAnswer(status: number, value: unknown): string {
  const body = `${JSON.stringify(value, null, 2)}\n`;
  const fields = Object.entries(NEVER_CACHED).map(([name, text]) => `${CASED[name]}: ${text}`);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/json',
    `x-request-id: ${randomUUID()}`,
    ...fields,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  return `${head.join('\r\n')}\r\n\r\n${body}`;
}

// A handler may choose any status, and TorchServe has its own words for those that it does not know.
function reasonOf(status: number): string | undefined {
  if (status < 400 || (STATUS_CODES[status] !== undefined && !UNKNOWN_TO_TORCHSERVE.has(status)))
    return undefined;
  return `${status < 500 ? 'Client' : 'Server'} Error (${status})`;
}

/** Sends compact JSON without TorchServe's cache fields, on routes that are not its own. */
export function sendNativeJson(
  reply: FastifyReply,
  status: number,
  value: unknown,
  headers: readonly Header[] = [],
): void {
  if (status === PAYLOAD_TOO_LARGE) leaveEndlessBody(reply);
  sendBody(reply, { status, headers: [...JSON_TYPE, ...headers], native: true }, JSON.stringify(value));
}

/** Sends a status alone, as TorchServe answers a request that it did not look at. */
export function sendBareStatus(reply: FastifyReply, status: number): void {
  leaveEndlessBody(reply);
  // Node writes that the connection stays, and TorchServe does not, unless somebody had a say in it.
  if (!reply.hasHeader('connection')) reply.raw.removeHeader('connection');
  reply.code(status).send();
}

// The rest of a body without a declared length may never end.
function leaveEndlessBody(reply: FastifyReply): void {
  if (reply.request.headers['transfer-encoding'] !== undefined) reply.header('connection', 'close');
}

/** Puts a handler's fields on the reply; of a repeated one the last counts. @returns their letter case by lower-case name */
function addFields(reply: FastifyReply, headers: readonly Header[]): ReadonlyMap<string, string> {
  const fields = new Map<string, Header>();
  for (const field of headers) if (isSendable(field)) fields.set(field[0].toLowerCase(), field);
  const names = new Map<string, string>();
  for (const [lower, [name, value]] of fields) {
    reply.header(lower, value);
    names.set(lower, name);
  }
  return names;
}

function asItIs(text: unknown): string {
  return text as string;
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
function sendAndClose(reply: FastifyReply, body: Buffer | string | Readable): void {
  const { raw, headers } = reply.request;
  const length =
    headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : Infinity;
  const close = () => void reply.header('connection', 'close').send(body);
  if (raw.complete || length === 0) close();
  else if (length <= AWAITED_BYTES) raw.resume().once('end', close);
  else reply.send(body);
}

const SHAPE = Symbol('marline.headShape');

type WriteHead = (this: ShapedResponse, status: number, ...rest: unknown[]) => ShapedResponse;

interface HeadShape {
  readonly writeHead: WriteHead;
  /** Letter case of a handler's fields. */
  readonly names: ReadonlyMap<string, string> | undefined;
  readonly reason: string | undefined;
}

interface ShapedResponse extends Omit<ServerResponse, 'writeHead'> {
  writeHead: WriteHead;
  [SHAPE]?: HeadShape;
}

// Node takes an empty reason phrase only as an argument, and Fastify lower-cases names: both are settled at the last
// moment, after all hooks, by one function for all replies.
function shapeHead(
  raw: ShapedResponse,
  names: ReadonlyMap<string, string> | undefined,
  reason: string | undefined,
): void {
  raw[SHAPE] = { writeHead: raw.writeHead, names, reason };
  raw.writeHead = writeShapedHead;
}

function writeShapedHead(this: ShapedResponse, status: number, ...rest: unknown[]): ShapedResponse {
  const { writeHead, names, reason } = this[SHAPE] as HeadShape;
  const headers = allHeaders(this, rest.at(-1));
  // A list: names in an object of each reply's own would cost more than all else here.
  const fields: OutgoingHttpHeader[] = [];
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined) continue;
    if (name === 'content-type' && names?.has(name) !== true && FASTIFY_DEFAULT_TYPES.includes(value))
      continue;
    fields.push(names?.get(name) ?? CASED[name] ?? name, value);
  }
  return reason === undefined
    ? writeHead.call(this, status, fields)
    : writeHead.call(this, status, printable(reason), fields);
}

/** What Fastify gives, and what somebody put on the response itself: a stream's head lies there, too. */
function allHeaders(raw: ShapedResponse, given: unknown): OutgoingHttpHeaders {
  const headers = typeof given === 'object' && given !== null ? (given as OutgoingHttpHeaders) : {};
  const names = raw.getHeaderNames();
  if (names.length === 0) return headers;
  const all = { ...raw.getHeaders(), ...headers };
  for (const name of names) raw.removeHeader(name);
  return all;
}

function printable(reason: string): string {
  return reason === '' ? reason : reason.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, ' ');
}
