import { describe, expect, it } from 'vitest';
import type { AccessEntry } from './access-log.js';
import { JsonLines } from './json-lines.js';
import type { LineFormat, LineTarget } from './line-format.js';
import { LineTime } from './line-time.js';
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

type Format = new (access: LineTarget, model: LineTarget) => LineFormat;

/** The one line that `write` makes, and the file that it goes into. */
function lineOf(format: Format, write: (lines: LineFormat) => void, file: 'access' | 'model'): string {
  const written = { access: [] as string[], model: [] as string[] };
  const target = (name: 'access' | 'model') => ({ write: (line: string) => void written[name].push(line) });
  write(new format(target('access'), target('model')));
  expect(written).toEqual({ access: [], model: [], [file]: [expect.any(String)] });
  return written[file][0] as string;
}
const accessLine = (format: Format, entry: AccessEntry) =>
  lineOf(format, (lines) => lines.access(entry), 'access');
const modelLine = (format: Format, ...of: Parameters<LineFormat['model']>) =>
  lineOf(format, (lines) => lines.model(...of), 'model');

describe('JSON lines', () => {
  it('tell of a request', () => {
    const line = accessLine(JsonLines, ENTRY);
    expect(line.endsWith('}\n')).toBe(true);
    const { httpVersion: _, ref, queueMs: _queue, totalMs: _total, ...same } = ENTRY;
    expect(JSON.parse(line)).toEqual({
      ...same,
      ...ref,
      level: 'info',
      queueMs: 0.123,
      totalMs: 9.877,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
    });
  });

  it('leave out what is not known', () => {
    const line = accessLine(JsonLines, { ...ENTRY, ...NOTHING, remote: undefined });
    expect(Object.keys(JSON.parse(line) as object)).toEqual([
      'level',
      'time',
      'method',
      'path',
      'status',
      'totalMs',
    ]);
  });

  it('tell what a worker wrote, however it looks', () => {
    const ref = { model: HOSTILE, version: '1"0' };
    const line = modelLine(JsonLines, ref, 9000, 'warn', `${HOSTILE} %s %d\n`);
    expect(JSON.parse(line)).toMatchObject({
      level: 'warn',
      ...ref,
      worker: 9000,
      msg: `${HOSTILE} %s %d\n`,
    });
    // oxlint-disable-next-line no-control-regex
    expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028]/);
    expect(JSON.parse(accessLine(JsonLines, { ...ENTRY, ref }))).toMatchObject(ref);
  });
});

describe("TorchServe's lines", () => {
  // As recorded of TorchServe 0.12.0.
  it('tell of a request', () => {
    const after = (entry: AccessEntry) =>
      accessLine(TorchServeLines, entry).replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}/, '<time>');
    expect(after(ENTRY)).toBe('<time> - /127.0.0.1:56842 "POST /predictions/echo HTTP/1.1" 200 9\n');
    const ping = { ...ENTRY, ...NOTHING, method: 'GET', path: '/ping', totalMs: 16.9 };
    expect(after({ ...ping, remote: undefined })).toBe('<time> - 127.0.0.1 "GET /ping HTTP/1.1" 200 16\n');
  });

  it('tell what a worker wrote, however it looks', () => {
    const ref = { model: 'echo', version: '1.0' };
    expect(modelLine(TorchServeLines, ref, 9000, 'log', 'Torch worker started.')).toMatch(
      /^\S{23} \[INFO \] W-9000-echo_1\.0-stdout MODEL_LOG - Torch worker started\.\n$/,
    );
    expect(modelLine(TorchServeLines, ref, 9000, 'warn', '\timport pynvml')).toMatch(
      /^\S{23} \[WARN \] W-9000-echo_1\.0-stderr MODEL_LOG - \timport pynvml\n$/,
    );
    const hostile = modelLine(TorchServeLines, { model: HOSTILE, version: '1' }, 1, 'error', HOSTILE);
    // oxlint-disable-next-line no-control-regex
    expect(hostile.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028]/);
    expect(hostile).toContain('a"b\\c\\u000ad\\u000d\\u001b[31me\\u0085f');
  });

  it('have the local time, also of the seconds that follow', () => {
    const time = new LineTime();
    const at = (second: number, ms: number) => time.at(new Date(2026, 10, 22, 16, 32, second, ms).getTime());
    expect([at(55, 136), at(55, 7), at(56, 0)]).toEqual([
      '2026-11-22T16:32:55,136',
      '2026-11-22T16:32:55,007',
      '2026-11-22T16:32:56,000',
    ]);
  });
});
