import { beforeEach, describe, expect, it } from 'vitest';
import { ManualClock, type HandlerMetric } from '#libs/common';
import { WorkerLog } from './worker-log.js';

let log: WorkerLog;
let logged: string[];
let metrics: HandlerMetric[];

beforeEach(() => {
  logged = [];
  metrics = [];
  log = new WorkerLog(
    {
      exited: () => {},
      metric: (metric) => metrics.push(metric),
      log: (level, text) => logged.push(`${level} ${text}`),
    },
    new ManualClock(),
  );
});

describe('what a worker prints', () => {
  it('goes to the log, errors as warnings, and without what every worker says', () => {
    log.line('stdout', 'hello');
    log.line('stderr', 'careful');
    log.line('stdout', 'Backend received inference at: 1795704912');
    log.line('stdout', 'Torch worker started.');
    expect(logged).toEqual(['log hello', 'warn careful']);
  });

  it('is a metric when it is marked as one', () => {
    log.line(
      'stdout',
      '[METRICS]HandlerTime.Milliseconds:1.5e1|#ModelName:echo,Level:Model,odd|#type:GAUGE|#hostname:vm,1795704912,id-1',
    );
    log.line('stdout', '[METRICS]Size.Megabytes:3|#Level:Model|#hostname:vm,1795704912');
    expect(metrics).toEqual([
      {
        name: 'HandlerTime',
        value: 15,
        unit: 'Milliseconds',
        type: 'gauge',
        dimensions: { ModelName: 'echo', Level: 'Model' },
        requestIds: 'id-1',
      },
      { name: 'Size', value: 3, unit: 'Megabytes', type: 'counter', dimensions: { Level: 'Model' } },
    ]);
    expect(logged).toEqual([]);
  });

  it.each([
    '[METRICS]Failed to update metric with name:A and dimensions: B',
    '[METRICS]A.ms:1,2,3|#|#hostname:vm',
    '[METRICS]',
    `[METRICS]${'a'.repeat(8000)}`,
  ])('is logged when it is marked as a metric and is none: %s', (line) => {
    log.line('stdout', line);
    expect([metrics, logged]).toEqual([[], [`log ${line}`]]);
  });
});
