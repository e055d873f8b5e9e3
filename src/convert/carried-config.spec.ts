import { describe, expect, it } from 'vitest';
import { carriedConfig } from './carried-config.js';

describe('a carried configuration', () => {
  it('loses the keys that only Python reads, and keeps all others with their comments', () => {
    const own = `# ours
minWorkers: 2 # two
pt2:
  compile: { enable: true }
batchSize: 8
torchrun:
  nproc-per-node: 2
labels: [a, b]
marline:
  intraOpThreads: 2
`;
    expect(carriedConfig(own)).toEqual({
      text: `# ours
minWorkers: 2 # two
batchSize: 8
labels: [ a, b ]
marline:
  intraOpThreads: 2
`,
      dropped: ['pt2', 'torchrun'],
    });
  });

  it('is not written when nothing is left', () => {
    expect(carriedConfig('pt2: inductor\nuseVenv: true\n')).toEqual({ dropped: ['pt2', 'useVenv'] });
  });

  it('loses a key that stands there twice', () => {
    expect(carriedConfig('pt2: a\nbatchSize: 1\npt2: b\n')).toEqual({
      text: 'batchSize: 1\n',
      dropped: ['pt2'],
    });
  });

  it.each(['- a\n- b\n', '{', '', 'text'])('is none when the file is %j', (own) => {
    expect(carriedConfig(own)).toEqual({ dropped: [] });
  });

  it('asks to write out what refers to a key that goes', () => {
    expect(() => carriedConfig('pt2: &options { mode: fast }\nlabels: *options\n')).toThrow(
      expect.objectContaining({
        code: 'ARCHIVE_INVALID',
        message: expect.stringContaining('cannot be carried over without pt2') as string,
      }),
    );
  });
});
