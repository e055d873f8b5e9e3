import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../src/program.js';
import { RecordedTerminal } from './terminal.js';

interface Seen {
  readonly path: string;
  readonly contentType: string | undefined;
  readonly authorization: string | undefined;
  readonly body: Buffer;
}

const images = fileURLToPath(new URL('../fixtures/images/', import.meta.url));
let folder: string;
let server: Server;
let url: string;
let seen: Seen[];
let answer: (request: Seen) => [status: number, body: string];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'marline-predict-'));
  seen = [];
  answer = () => [200, '{"espresso": 0.95}'];
  server = createServer((request, response) => void respond(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await readBody(request);
  const { 'content-type': contentType, authorization } = request.headers;
  const one = { path: request.url!, contentType, authorization, body };
  seen.push(one);
  const [status, text] = answer(one);
  response.writeHead(status).end(text);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function predict(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const terminal = new RecordedTerminal();
  const code = await run(['predict', '--model', 'm', '--url', url, ...args], terminal);
  return { code, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe('marline predict', () => {
  it('prints one answer as it came, and the time on stderr', async () => {
    answer = () => [200, '{\n  "espresso": 0.95\n}'];
    const { code, stdout, stderr } = await predict(`${images}coffee.jpg`);
    expect(code).toBe(0);
    expect(stdout).toBe('{\n  "espresso": 0.95\n}');
    expect(stderr).toMatch(/^answered in [\d.]+ ms\n$/);
  });

  it('finds the content type in the bytes, whatever the name', async () => {
    await predict(`${images}coffee.jpg`);
    await predict(`${images}digit_1.png`);
    await predict(file('a.bin', '{"values": [1]}'));
    await predict(file('b.json', 'not json'));
    expect(seen.map((request) => request.contentType)).toEqual([
      'image/jpeg',
      'image/png',
      'application/json',
      'application/octet-stream',
    ]);
    expect(seen[3]!.body.toString()).toBe('not json');
  });

  it('sends a NumPy array as a tensor of the named input', async () => {
    const header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n";
    const bytes = Buffer.concat([
      Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
      Buffer.from([header.length, 0]),
      Buffer.from(header),
      Buffer.from([7, 8]),
    ]);
    await predict(file('x.npy', bytes), '--input', 'pixels');
    expect(seen[0]!.contentType).toBe('application/json');
    expect(JSON.parse(seen[0]!.body.toString())).toEqual({
      inputs: [{ name: 'pixels', shape: [2], datatype: 'UINT8', data: [7, 8] }],
    });
  });

  it('asks for a version, behind a mount prefix, with the name escaped', async () => {
    const terminal = new RecordedTerminal();
    const args = ['predict', file('a', 'x'), '--model', 'a b', '--version', '2.0', '--url', `${url}/ml/`];
    expect(await run(args, terminal)).toBe(0);
    expect(seen[0]!.path).toBe('/ml/predictions/a%20b/2.0');
  });

  it('answers many files with one JSON line each, in their order', async () => {
    answer = ({ body }) => [200, `{"got": "${body.toString()}"}`];
    const names = Array.from({ length: 20 }, (_, index) => file(`${index}.txt`, `text ${index}`));
    const { code, stdout, stderr } = await predict(...names, '--concurrency', '5');
    expect(code).toBe(0);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(lines).toEqual(
      names.map((name, index) => ({ file: name, status: 200, answer: { got: `text ${index}` } })),
    );
    expect(stderr).toMatch(/^20 answers in /);
  });

  it('gives a JSON line for a single file when asked to', async () => {
    const path = file('a', 'x');
    const { stdout } = await predict(path, '--json');
    expect(JSON.parse(stdout)).toEqual({ file: path, status: 200, answer: { espresso: 0.95 } });
  });

  it('tells a refusal in words and exits 1', async () => {
    answer = () => [
      404,
      '{\n  "code": 404,\n  "type": "ModelNotFoundException",\n  "message": "Model not found: m"\n}\n',
    ];
    const { code, stdout, stderr } = await predict(file('a', 'x'));
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toContain('404 ModelNotFoundException: Model not found: m');
  });

  it('goes on after a refusal and counts the failures', async () => {
    answer = ({ body }) => (body.toString() === 'bad' ? [503, 'Prediction failed'] : [200, 'fine']);
    const { code, stdout, stderr } = await predict(file('a', 'good'), file('b', 'bad'), file('c', 'good'));
    expect(code).toBe(1);
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { status: number }).status),
    ).toEqual([200, 503, 200]);
    expect(stderr).toContain('1 of 3 predictions failed');
    expect(stderr).toContain('b: 503 Prediction failed');
  });

  it('says how to start a server when there is none', async () => {
    server.close();
    server.closeAllConnections();
    const { code, stderr } = await predict(file('a', 'x'));
    expect(code).toBe(1);
    expect(stderr).toContain(`No server listens at ${url}. Start one with: marline serve`);
  });

  it('sends the token, and nothing when it is none; it never repeats it', async () => {
    const key = 'QmFzZTY0_-+/=';
    expect((await predict(file('a', 'x'), '--token', key)).code).toBe(0);
    expect(seen).toMatchObject([{ authorization: `Bearer ${key}` }]);
    for (const broken of [`${key}\r\nX-Evil: 1`, `${key} `, 'schlüssel', '']) {
      const { code, stderr } = await predict(file('a', 'x'), '--token', broken);
      expect(code).toBe(1);
      expect(stderr).toContain(
        `The value of --token ${broken === '' ? 'is empty' : 'has characters that no key has'}`,
      );
      if (broken !== '') expect(stderr).not.toContain(broken.slice(0, 8));
    }
    expect(seen).toHaveLength(1);
  });

  it('sends nothing when one of the files is missing', async () => {
    const { code, stderr } = await predict(file('a', 'x'), 'nosuch.jpg');
    expect(code).toBe(1);
    expect(stderr).toContain('File not found: nosuch.jpg');
    expect(seen).toEqual([]);
  });

  it.each([
    [['predict', 'a.jpg'], "required option '-m, --model <name>' not specified"],
    [['predict', 'a.jpg', '--model', 'm', '--concurrency', '0'], 'It is a whole number from 1 up'],
    [['predict', 'a.jpg', '--model', 'm', '--url', 'localhost:8080'], 'Write it as http://host:port'],
    [['predict', 'a.jpg', '--model', 'm', '--concurency', '2'], 'Did you mean --concurrency?'],
  ])('exits 2 for %j', async (args, message) => {
    const terminal = new RecordedTerminal();
    expect(await run(args, terminal)).toBe(2);
    expect(terminal.stderr.text).toContain(message);
  });
});
