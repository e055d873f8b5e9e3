import { expect, it } from 'vitest';
import { ManualClock } from '#libs/common';
import { LineQuota } from './line-quota.js';

it('leaves out what a worker prints above 200 lines a second, and tells how much of it', () => {
  const clock = new ManualClock();
  const logged: string[] = [];
  const quota = new LineQuota({ log: (level, text) => logged.push(`${level} ${text}`) }, clock);
  for (let line = 0; line < 1000; line += 1) quota.tell('stdout', `line ${line}`);
  expect(logged).toHaveLength(200);
  clock.advance(1000);
  quota.tell('stderr', 'later');
  expect(logged.slice(200)).toEqual([
    'warn printed 800 lines more than are passed on in a second',
    'warn later',
  ]);
  quota.flush();
  expect(logged).toHaveLength(202);
});
