import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readCase, readExportResult } from './export-result.js';

const HEAD = { name: 'x', dtype: 'float32', shape: [2] };
const RESULT = {
  ok: true,
  torch: '2.13.0',
  model: 'Net',
  exporter: 'torch.export',
  batch: 'free',
  note: null,
  cases: [{ inputs: [HEAD], outputs: [HEAD] }],
};

describe('what the exporting program says', () => {
  it('is read, without what a terminal would take for commands', () => {
    const text = JSON.stringify({ ...RESULT, model: 'Net\u001b[31m\nerror: fake', note: 'a\r\nb' });
    const result = readExportResult(text);
    expect(result).toMatchObject({ ok: true, exported: { model: 'Net [31m error: fake', note: 'a b' } });
  });

  it('may be a problem', () => {
    expect(readExportResult('{"ok":false,"problem":"load","detail":"x\\ny"}')).toEqual({
      ok: false,
      problem: 'load',
      detail: 'x y',
    });
  });

  it.each([
    ['no JSON', 'nonsense'],
    ['a list', '[]'],
    ['a problem without a name', '{"ok":false,"detail":""}'],
    ['no cases', JSON.stringify({ ...RESULT, cases: [] })],
    ['cases that are none', JSON.stringify({ ...RESULT, cases: [null] })],
    ['no outputs', JSON.stringify({ ...RESULT, cases: [{ inputs: [HEAD], outputs: [] }] })],
    ['another kind of batch', JSON.stringify({ ...RESULT, batch: 'some' })],
    [
      'a type of ours that has no bytes',
      JSON.stringify({ ...RESULT, cases: [{ inputs: [{ ...HEAD, dtype: 'string' }], outputs: [HEAD] }] }),
    ],
    [
      'a broken shape',
      JSON.stringify({ ...RESULT, cases: [{ inputs: [{ ...HEAD, shape: [1.5] }], outputs: [HEAD] }] }),
    ],
  ])('is refused when it is %s', (_what, text) => {
    expect(() => readExportResult(text)).toThrow(expect.objectContaining({ code: 'MODEL_INVALID' }));
  });
});

describe('a tensor of a case', () => {
  const exported = (folder: string, head: object) => {
    const result = readExportResult(
      JSON.stringify({ ...RESULT, cases: [{ inputs: [head], outputs: [head] }] }),
    );
    if (!result.ok) throw new Error('It was not read.');
    return { ...result.exported, folder };
  };
  const within = async (test: (folder: string) => Promise<void>) => {
    const folder = mkdtempSync(join(tmpdir(), 'marline-case-'));
    try {
      await test(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };

  it('is read as it lies in its file', () =>
    within(async (folder) => {
      const bytes = Buffer.from(new Float32Array([1.5, -2]).buffer);
      for (const role of ['input', 'output']) writeFileSync(join(folder, `case-0-${role}-0.bin`), bytes);
      const { inputs, outputs } = await readCase(exported(folder, HEAD), 0);
      expect(inputs).toEqual([{ ...HEAD, data: new Float32Array([1.5, -2]) }]);
      expect(outputs).toEqual(inputs);
    }));

  it('is refused when its file is missing', () =>
    within(async (folder) => {
      await expect(readCase(exported(folder, HEAD), 0)).rejects.toThrow('wrong answer');
    }));

  it.each([
    ['is shorter than its shape', { ...HEAD, shape: [3] }, 'wrong answer'],
    ['has a shape beyond all memory', { ...HEAD, shape: [2 ** 40, 2 ** 40] }, 'are allowed'],
  ])('is refused when its file %s', (_what, head, message) =>
    within(async (folder) => {
      for (const role of ['input', 'output'])
        writeFileSync(join(folder, `case-0-${role}-0.bin`), Buffer.alloc(8));
      await expect(readCase(exported(folder, head), 0)).rejects.toThrow(message);
    }),
  );
});
