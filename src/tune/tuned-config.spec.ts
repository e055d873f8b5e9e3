import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#libs/archive';
import { commentedConfig, measuredConfig } from './tuned-config.js';

const setting = { workers: 2, batchSize: 4, intraOpThreads: 3 };
const TUNED = { minWorkers: 2, maxWorkers: 2, batchSize: 4, marline: { intraOpThreads: 3 } };

describe('commentedConfig', () => {
  it('is a configuration that the server reads, under its story', () => {
    const text = commentedConfig('', setting, ['Measured: here.', 'Reason: fast.']);
    expect(text).toBe(
      '# Measured: here.\n# Reason: fast.\n\nminWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nmarline:\n  intraOpThreads: 3\n',
    );
    expect(parseModelConfig(text)).toMatchObject({
      minWorkers: 2,
      maxWorkers: 2,
      batchSize: 4,
      warnings: [],
    });
  });

  it('keeps what else the archive says, with its comments', () => {
    const own =
      'minWorkers: 9 # too many\n# labels of the handler\nhandler:\n  topk: 5\nmarline:\n  batching: adaptive\n';
    const text = commentedConfig(own, setting, []);
    expect(text).toContain('# labels of the handler\nhandler:\n  topk: 5\n');
    expect(parseModelConfig(text).raw).toEqual({
      ...TUNED,
      handler: { topk: 5 },
      marline: { batching: 'adaptive', intraOpThreads: 3 },
    });
  });

  it.each(['{ minWorkers: 1 }', 'just text', '- a\n- b', 'a: [', '', 'marline: yes', 'marline: [1]'])(
    'makes a usable file of %j',
    (own) => {
      expect(parseModelConfig(commentedConfig(own, setting, [])).raw).toEqual(TUNED);
    },
  );
});

describe('measuredConfig', () => {
  it('makes room for the callers', () => {
    const { raw } = parseModelConfig(measuredConfig('jobQueueSize: 1\n', setting, 64));
    expect(raw).toEqual({ ...TUNED, jobQueueSize: 64 });
    expect(parseModelConfig(commentedConfig('jobQueueSize: 1\n', setting, [])).jobQueueSize).toBe(1);
  });
});
