import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LogFiles } from './log-files.js';

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
