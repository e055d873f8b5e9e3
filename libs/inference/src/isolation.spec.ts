import { describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import type { HandlerPlan } from '#libs/handler';
import { checkIsolation } from './isolation.js';

const archive = { dir: '/cache/m' };
const moduleAt = (path: string): HandlerPlan => ({
  runs: 'worker',
  handler: { kind: 'module', url: `file://${path}` },
});
const check = (isolation: 'thread' | 'process' | 'none', plan: HandlerPlan) => () =>
  checkIsolation({ isolation }, plan, archive);

describe('on the main thread', () => {
  it('no code of the archive runs', () => {
    expect(check('none', moduleAt('/cache/m/handler.mjs'))).toThrow(
      expect.objectContaining({
        code: 'ARCHIVE_UNSAFE',
        message: expect.stringContaining('(handler.mjs), which may not run there. Use thread or process'),
      }),
    );
    expect(check('none', moduleAt('/cache/m/sub/handler.mjs'))).toThrow('sub/handler.mjs');
  });

  it.each<[string, HandlerPlan]>([
    ['a built-in handler', { runs: 'worker', handler: { kind: 'builtin', name: 'tensor' } }],
    ['a worker’s handler of the application', moduleAt('/app/handler.mjs')],
    ['one beside the archive’s folder', moduleAt('/cache/m2/handler.mjs')],
    ['a host handler', { runs: 'host', name: 'h', create: () => Promise.reject(new Error('unused')) }],
    ['one that cannot run at all', { runs: 'nowhere', error: new MarlineError('INTERNAL') }],
  ])('%s may run', (_, plan) => {
    expect(check('none', plan)).not.toThrow();
  });
});

it('code of the archive runs in a thread or a process', () => {
  expect(check('thread', moduleAt('/cache/m/handler.mjs'))).not.toThrow();
  expect(check('process', moduleAt('/cache/m/handler.mjs'))).not.toThrow();
});
