import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LogFiles } from './log-files.js';
import { MetricsFiles } from './metrics-files.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-log-files-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const REF = { model: 'echo', version: '1.0' };
const unexpected = (message: string) => expect.unreachable(message);

describe('the log files', () => {
  it.each([
    [
      'json',
      /^\{"level":"warn","time":"\S+Z","model":"echo","version":"1.0","worker":9000,"msg":"late"\}\n$/,
    ],
    ['torchserve', /^\S{23} \[WARN \] W-9000-echo_1\.0-stderr MODEL_LOG - late\n$/],
  ] as const)('have what workers write among the lines of models (%s)', async (format, line) => {
    const files = LogFiles.open(folder, format, unexpected);
    files?.access.workerLogged(REF, 9000, 'warn', 'late');
    await files?.close();
    expect(readFileSync(join(folder, 'model_log.log'), 'utf8')).toMatch(line);
    expect(readFileSync(join(folder, 'access_log.log'), 'utf8')).toBe('');
  });

  it('take no notice of requests that no listener brought', async () => {
    const files = LogFiles.open(folder, 'json', unexpected);
    files?.access.requestReceived(REF, 'id', undefined);
    const timings = { queueMs: 1, batchWaitMs: 0, runMs: 1, totalMs: 2, batchSize: 1 };
    files?.access.requestFinished(REF, 'id', timings);
    await files?.close();
    expect(readFileSync(join(folder, 'access_log.log'), 'utf8')).toBe('');
  });
});

describe('the files of metrics', () => {
  it('have the lines of their context, and the log has all that it had before', async () => {
    const files = MetricsFiles.open(folder, unexpected);
    const logged: unknown[][] = [];
    const tell =
      (level: string) =>
      (...of: unknown[]) =>
        void logged.push([level, ...of]);
    const next = { log: tell('log'), warn: tell('warn'), error: tell('error'), fatal: tell('fatal') };
    const logger = files?.beside(next);
    const all = [
      ['log', 'a.Count:1', 'TS_METRICS'],
      ['log', 'b.ms:1\u001b[31m', 'MODEL_METRICS'],
      ['log', 'Model server started.', 'Server'],
      ['warn', 'c', 'TS_METRICS'],
      ['error', 'd', 'stack', 'Server'],
      ['fatal', 'e', 'Server'],
    ] as const;
    for (const [level, ...of] of all) logger?.[level]?.(...(of as readonly unknown[] as [unknown]));
    logger?.debug?.('a logger need not have it');
    await files?.close();
    expect(logged).toEqual(all);
    const text = (name: string) => readFileSync(join(folder, name), 'utf8');
    expect(text('ts_metrics.log')).toMatch(/^\S{23} - a\.Count:1\n$/);
    expect(text('model_metrics.log')).toMatch(/^\S{23} - b\.ms:1\\u001b\[31m\n$/);
  });

  it('are done without, with a warning, where they cannot be written', () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const warnings: string[] = [];
    expect(MetricsFiles.open(file, (message) => warnings.push(message))).toBeUndefined();
    expect(warnings).toEqual([
      expect.stringMatching(/^There are no files of metrics: .* METRICS_LOCATION, or set log_format=none\.$/),
    ]);
  });
});
