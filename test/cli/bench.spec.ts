import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BenchReport } from '../../src/load/bench-report.js';
import { run } from '../../src/program.js';
import { CLI } from '../support/built.js';
import { fixture } from '../support/open-registry.js';
import { serveApp } from '../support/serve-app.js';
import { RecordedTerminal } from './terminal.js';

const SHORT = ['--duration', '0.4', '--warmup', '0.1'];
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

let folder: string;
let servers: { server: Server; sockets: Set<Socket> }[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-bench-'));
  servers = [];
});
afterEach(() => {
  for (const { server, sockets } of servers) {
    server.close();
    for (const socket of sockets) socket.destroy();
  }
  rmSync(folder, { recursive: true });
});

async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', () => {}));
    socket.on('close', () => sockets.delete(socket));
  });
  servers.push({ server, sockets });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server below HTTP; `answer` is told how many requests there were before. */
function rawServer(answer: (socket: Socket, count: number) => void): Promise<string> {
  let count = 0;
  return listen(createServer((socket) => socket.on('data', () => answer(socket, count++))));
}

async function bench(...args: string[]) {
  const terminal = new RecordedTerminal();
  const code = await run(['bench', ...args], terminal);
  return { code, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
}

async function benchJson(...args: string[]) {
  const { code, stdout, stderr } = await bench(...args, '--json');
  return { code, stderr, report: JSON.parse(stdout) as BenchReport };
}

describe('marline bench', () => {
  it('measures a served model in a closed loop, with a generated body', async () => {
    const { url, close } = await serveApp({ models: ['mlp'] });
    try {
      const tensor = ['--tensor', 'input=float32[1,128]'];
      const { code, stdout } = await bench(
        '--url',
        url,
        '--model',
        'mlp',
        ...tensor,
        '--connections',
        '2',
        ...SHORT,
      );
      expect(code).toBe(0);
      expect(stdout).toMatch(
        /^POST http:\/\/[\d.:]+\/predictions\/mlp, \d{4} bytes; 0\.400 s a run after 0\.1 s of warm-up$/m,
      );
      expect(stdout).toMatch(/^2xx {2,}[1-9]\d*$/m);
      const wrong = await bench('--url', url, '--model', 'mlp', '--tensor', 'input=float32[1,7]', ...SHORT);
      expect(wrong.code).toBe(1);
      expect(wrong.stderr).toMatch(/answered 400 BadRequestException: /);
      const missing = await bench('--url', url, '--model', 'nosuch', ...tensor, ...SHORT);
      expect(missing.stderr).toContain('answered 404 ModelNotFoundException: Model not found: nosuch');
    } finally {
      await close();
    }
  });

  it('sends files in turn, with their types and the headers that it is given', async () => {
    const seen = new Set<string>();
    const url = await listen(
      createHttpServer((request, response) => {
        const { 'content-type': type, 'content-length': length, 'x-tenant': tenant } = request.headers;
        seen.add([request.method, request.url, type, length, tenant].join(' '));
        request.resume().on('end', () => response.end('fine'));
      }),
    );
    const text = join(folder, 'a.txt');
    writeFileSync(text, 'text');
    const files = ['--body', fixture('images/digit_1.png'), text];
    const { code } = await bench(
      '--url',
      url,
      '--model',
      'a b',
      '--version',
      '2.0',
      ...files,
      '-H',
      'X-Tenant: t',
      ...SHORT,
    );
    expect(code).toBe(0);
    expect([...seen]).toEqual([
      'POST /predictions/a%20b/2.0 image/png 193 t',
      'POST /predictions/a%20b/2.0 application/octet-stream 4 t',
    ]);
  });

  it('sends the token with every request, and repeats it nowhere', async () => {
    const key = 'QmFzZTY0_-+/=';
    const seen = new Set<string | undefined>();
    const url = await listen(
      createHttpServer((request, response) => {
        seen.add(request.headers.authorization);
        response.statusCode = request.headers.authorization === `Bearer ${key}` ? 200 : 400;
        response.end('fine');
      }),
    );
    const output = join(folder, 'out.json');
    const { code, stdout, stderr } = await bench('--url', url, '--token', key, '--output', output, ...SHORT);
    expect(code).toBe(0);
    expect([...seen]).toEqual([`Bearer ${key}`]);
    expect(`${stdout}${stderr}${readFileSync(output, 'utf8')}`).not.toContain(key);
    const refused = await bench('--url', url, '--token', `${key}\n`, ...SHORT);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('The value of --token has characters that no key has');
    expect(refused.stderr).not.toContain(key);
  });

  it('keeps the rate of an open loop and writes what it measured', async () => {
    const url = await listen(createHttpServer((_request, response) => void response.end('fine')));
    const [output, svg] = [join(folder, 'out.json'), join(folder, 'out.svg')];
    const open = ['--rate', '200', '--arrivals', 'poisson', '--deadline-ms', '1000'];
    const { code, report } = await benchJson(
      '--url',
      url,
      ...open,
      ...SHORT,
      '--output',
      output,
      '--svg',
      svg,
    );
    expect(code).toBe(0);
    expect(report).toMatchObject({
      schema: 'marline-bench/1',
      deadlineMs: 1000,
      target: { method: 'GET', bodyBytes: [] },
    });
    const [only] = report.runs;
    expect(only!.load).toEqual({ kind: 'open', arrivals: 'poisson', rate: 200, maxConnections: 1000 });
    // The same seed every time: so many arrivals of this schedule lie in its 0.4 seconds.
    expect(only).toMatchObject({ due: 93, unsent: 0, statuses: { 200: 93 }, failures: [], end: 'complete' });
    expect(JSON.parse(readFileSync(output, 'utf8'))).toEqual(report);
    expect(readFileSync(svg, 'utf8')).toMatch(/^<svg /);
  });

  it('sweeps the load through the capacity', async () => {
    const url = await rawServer((socket) => setTimeout(() => socket.write(ANSWER), 5));
    const short = ['--duration', '0.15', '--warmup', '0', '--connections', '2', '--max-connections', '2'];
    const { code, report } = await benchJson('--url', url, '--sweep', ...short);
    expect(code).toBe(0);
    const capacity = report.runs[0]!.throughput;
    expect(
      report.runs.map(({ load }) =>
        load.kind === 'open' ? Math.round((100 * load.rate) / capacity) : 'closed',
      ),
    ).toEqual(['closed', 25, 50, 75, 90, 110]);
  });

  it('shows a stall of the server in the latencies of all that were due meanwhile', async () => {
    let stalled = false;
    const url = await rawServer((socket, count) => {
      if (count === 20 && !stalled) {
        stalled = true;
        const until = performance.now() + 200;
        while (performance.now() < until);
      }
      socket.write(ANSWER);
    });
    const { report } = await benchJson('--url', url, '--rate', '100', '--warmup', '0', '--duration', '0.6');
    const { p50, p90, max } = report.runs[0]!.latencyMs!;
    expect(max).toBeGreaterThan(190);
    expect(p90).toBeGreaterThan(80);
    expect(p90).toBeGreaterThan(p50);
  });

  it('counts refusals as a result', async () => {
    const busy = 'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n';
    const url = await rawServer((socket, count) =>
      socket.write(count > 0 && count % 2 === 0 ? busy : ANSWER),
    );
    const { code, report } = await benchJson('--url', url, '--rate', '100', ...SHORT);
    expect(code).toBe(0);
    const { 200: answered = 0, 503: refused = 0 } = report.runs[0]!.statuses;
    expect(answered + refused).toBe(40);
    // Requests of two connections may overtake each other where the warm-up ends.
    expect(Math.abs(answered - refused)).toBeLessThanOrEqual(4);
  });

  it('ends with the result so far when the server dies, and exits 1', async () => {
    const server = createServer((socket) => socket.on('data', () => socket.write(ANSWER)));
    const url = await listen(server);
    setTimeout(() => {
      server.close();
      for (const socket of servers[0]!.sockets) socket.destroy();
    }, 600);
    const { code, stdout, stderr } = await bench(
      '--url',
      url,
      '--connections',
      '2',
      '--duration',
      '60',
      '--warmup',
      '0',
    );
    expect(code).toBe(1);
    expect(stdout).toMatch(/^2xx {2,}[1-9]\d*$/m);
    expect(stderr).toContain('closed, 2: the server was gone before the end.');
    expect(stderr).toMatch(/requests failed \(connect: ECONNREFUSED\)/);
  });

  it('ends with the result so far at Ctrl-C', async () => {
    const url = await rawServer((socket) => setTimeout(() => socket.write(ANSWER), 2));
    const child = fork(
      CLI,
      ['bench', '--url', url, '--connections', '1', '--warmup', '0', '--duration', '60', '--json'],
      {
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      },
    );
    let output = '';
    child.stdout!.on('data', (text: Buffer) => (output += text.toString()));
    child.stderr!.once('data', () => setTimeout(() => child.kill('SIGINT'), 300));
    const [code] = (await once(child, 'exit')) as [number];
    const [only] = (JSON.parse(output) as BenchReport).runs;
    expect({ code, end: only!.end }).toEqual({ code: 0, end: 'interrupted' });
    expect(only!.seconds).toBeLessThan(30);
    expect(only!.statuses['200']).toBeGreaterThan(0);
  });
});

describe('marline bench, with a server that cannot be measured', () => {
  it.each<[string, (socket: Socket, count: number) => void, RegExp]>([
    [
      'speaks no HTTP',
      (socket) => socket.write('SSH-2.0-OpenSSH\r\n'),
      /is no HTTP: it begins with "SSH-2\.0-OpenSSH"/,
    ],
    ['hangs up', (socket) => socket.end(), /the connection was closed before the answer was complete/],
    [
      'hangs up amid its answer',
      (socket) => socket.end(ANSWER.slice(0, -1)),
      /closed before the answer was complete/,
    ],
    ['never answers', () => {}, /did not answer: no complete answer within 200 ms/],
    [
      'never ends its answer',
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        const more = setInterval(() => socket.write('more'), 5);
        socket.on('close', () => clearInterval(more));
      },
      /no complete answer within 200 ms/,
    ],
    [
      'refuses',
      (socket) => socket.write('HTTP/1.1 401 No\r\nContent-Length: 7\r\n\r\nno\u001b[2J!'),
      /answered 401 no \[2J!/,
    ],
  ])('tells when it %s, and exits 1', async (_name, answer, message) => {
    const url = await rawServer(answer);
    const { code, stdout, stderr } = await bench('--url', url, '--timeout-ms', '200');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(message);
  });

  it('exits 1 when answers are broken only later', async () => {
    const url = await rawServer((socket, count) => socket.write(count < 10 ? ANSWER : 'garbage\r\n'));
    const { code, report, stderr } = await benchJson('--url', url, '--rate', '100', ...SHORT);
    expect(code).toBe(1);
    expect(report.runs[0]!.failures).toMatchObject([
      { failure: 'not HTTP', example: 'it begins with "garbage"' },
    ]);
    expect(stderr).toContain('requests failed (not HTTP: it begins with "garbage")');
  });

  it.each([
    ['http://127.0.0.1:1', 'No server listens at http://127.0.0.1:1/. Start one with: marline serve'],
    ['http://nosuch.invalid', 'The host of http://nosuch.invalid/ is not known. Check --url.'],
  ])('says what is wrong with %s', async (url, message) => {
    const { code, stderr } = await bench('--url', url);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  it.each([
    [['--body', 'nosuch.jpg'], 'nosuch.jpg cannot be read'],
    [['--tensor', 'input=float31[1]'], '--tensor input=float31[1]: write it as name=dtype[sizes]'],
    [['--tensor', 'input=float32[999999999,999999999]'], 'the tensors are too large'],
    [['--header', 'nonsense'], '--header "nonsense": write it as "Name: value"'],
    [['--output', 'nosuch/out.json'], 'nosuch/out.json cannot be written'],
  ])('exits 1 for %j', async (args, message) => {
    const { code, stderr } = await bench('--url', 'http://127.0.0.1:1', ...args);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  it.each([
    [['--url', 'ftp://x'], 'Write it as http://host:port'],
    [['--url', 'http://me:secret@x'], 'It may hold no credentials'],
    [['--rate', '0'], 'It is more than 0'],
    [['--rate', '1e3'], 'It is a number from 0 to 1000000'],
    [['--connections', '1.5'], 'It is a whole number from 1 to 10000'],
    [['--duration', '-1'], 'It is a number from 0 to'],
    [['--rate', '5', '--sweep'], "'--rate <n>' cannot be used with option '--sweep'"],
    [['--tensor', 'a=int8[1]', '--body', 'x'], "cannot be used with option '--body <file...>'"],
    [['--arrivals', 'poisson'], '--arrivals is for an open loop'],
    [['--rate', '5', '--arrivals', 'random'], 'Allowed choices are constant, poisson, bursts'],
    [['--version', '1.0'], '--version is of a model'],
    [['--token', 'x', '--header', 'authorization: Bearer y'], '--token and --header both say who asks'],
    [['--conections', '2'], 'Did you mean --connections?'],
  ])('exits 2 for %j', async (args, message) => {
    const { code, stderr } = await bench(...args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
