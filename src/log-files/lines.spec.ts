import { describe, expect, it } from 'vitest';
import type { AccessEntry } from './access-log.js';
import { JsonLines } from './json-lines.js';
import { LineTime, localPrefix, utcPrefix } from './line-time.js';
import { TorchServeLines } from './torchserve-lines.js';

const ENTRY: AccessEntry = {
  id: '0a7d0a5e-6f2f-4f59-b0d1-0b8f9d7f6f11',
  remote: '127.0.0.1:56842',
  method: 'POST',
  path: '/predictions/echo',
  httpVersion: '1.1',
  status: 200,
  ref: { model: 'echo', version: '1.0' },
  queueMs: 0.123456,
  runMs: 7.5,
  totalMs: 9.87654,
};
const NOTHING = { id: undefined, ref: undefined, queueMs: undefined, runMs: undefined };
// What a handler may print, and what a model may be called.
const HOSTILE = 'a"b\\c\nd\r\u001b[31me\u0085f\u009bg\u2028h';

describe('JSON lines', () => {
  it('tell of a request', () => {
    const line = new JsonLines().access(ENTRY);
    expect(line.endsWith('}\n')).toBe(true);
    const { httpVersion: _, ref, queueMs: _queue, totalMs: _total, ...same } = ENTRY;
    expect(JSON.parse(line)).toEqual({
      ...same,
      ...ref,
      queueMs: 0.123,
      totalMs: 9.877,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
    });
  });

  it('leave out what is not known', () => {
    const line = new JsonLines().access({ ...ENTRY, ...NOTHING, remote: undefined });
    expect(Object.keys(JSON.parse(line) as object)).toEqual(['time', 'method', 'path', 'status', 'totalMs']);
  });

  it('tell what a worker wrote, however it looks', () => {
    const lines = new JsonLines();
    const line = lines.model({ model: HOSTILE, version: '1"0' }, 9000, 'warn', HOSTILE);
    expect(JSON.parse(line)).toMatchObject({
      level: 'warn',
      model: HOSTILE,
      version: '1"0',
      worker: 9000,
      text: HOSTILE,
    });
    // oxlint-disable-next-line no-control-regex
    expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028]/);
    expect(JSON.parse(lines.access({ ...ENTRY, ref: { model: HOSTILE, version: '1' } }))).toMatchObject({
      model: HOSTILE,
    });
  });
});

describe("TorchServe's lines", () => {
  // As recorded of TorchServe 0.12.0.
  it('tell of a request', () => {
    const lines = new TorchServeLines();
    const after = (line: string) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}/, '<time>');
    expect(after(lines.access(ENTRY))).toBe(
      '<time> - /127.0.0.1:56842 "POST /predictions/echo HTTP/1.1" 200 9\n',
    );
    const ping = { ...ENTRY, ...NOTHING, method: 'GET', path: '/ping', totalMs: 16.9 };
    expect(after(lines.access({ ...ping, remote: undefined }))).toBe(
      '<time> - 127.0.0.1 "GET /ping HTTP/1.1" 200 16\n',
    );
  });

  it('tell what a worker wrote, however it looks', () => {
    const lines = new TorchServeLines();
    const ref = { model: 'echo', version: '1.0' };
    expect(lines.model(ref, 9000, 'log', 'Torch worker started.')).toMatch(
      /^\S{23} \[INFO \] W-9000-echo_1\.0-stdout MODEL_LOG - Torch worker started\.\n$/,
    );
    expect(lines.model(ref, 9000, 'warn', '\timport pynvml')).toMatch(
      /^\S{23} \[WARN \] W-9000-echo_1\.0-stderr MODEL_LOG - \timport pynvml\n$/,
    );
    const hostile = lines.model({ model: HOSTILE, version: '1' }, 1, 'error', HOSTILE);
    // oxlint-disable-next-line no-control-regex
    expect(hostile.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028]/);
    expect(hostile).toContain('a"b\\c\\u000ad\\u000d\\u001b[31me\\u0085f');
  });
});

describe('the time of a line', () => {
  it('is the present one, second by second', () => {
    const before = Date.now();
    const ms = Date.parse(`${new LineTime(utcPrefix).now()}Z`);
    expect(ms).toBeGreaterThanOrEqual(before);
    expect(ms).toBeLessThanOrEqual(Date.now());
    const made: number[] = [];
    const time = new LineTime((now) => String(made.push(now)));
    for (let count = 0; count < 100; count++) time.now();
    expect(made.length).toBeLessThan(100);
  });

  it('may be local', () => {
    const date = new Date(2026, 10, 22, 16, 32, 55, 136);
    expect(localPrefix(date.getTime())).toBe('2026-11-22T16:32:55,');
  });
});
