import { describe, expect, it } from 'vitest';
import { parseModelConfig } from './model-config.js';

const engine = (yaml: string) => {
  const { engine, warnings } = parseModelConfig(yaml);
  return { engine, warnings };
};

describe('the section marline of a model-config.yaml', () => {
  it('reads every key', () => {
    const yaml = `
marline:
  isolation: process
  intraOpThreads: 2
  batching: adaptive
  devices: ["cuda:0", cpu]
  instancesPerDevice: 2
  cpuFallback: true
  memoryLimitMb: 512
  scaleUpQueueMs: 20
  scaleDownIdleSec: 60
`;
    expect(engine(yaml)).toEqual({
      engine: {
        isolation: 'process',
        intraOpThreads: 2,
        batching: 'adaptive',
        devices: ['cuda:0', 'cpu'],
        instancesPerDevice: 2,
        cpuFallback: true,
        memoryLimitMb: 512,
        scaleUpQueueMs: 20,
        scaleDownIdleSec: 60,
      },
      warnings: [],
    });
  });

  it('is empty without the section', () => {
    expect(engine('batchSize: 4')).toEqual({ engine: {}, warnings: [] });
  });

  it.each([
    ['marline: fast', 'marline is ignored: it must be a map of keys.'],
    ['marline: { isolation: vm }', 'marline.isolation is ignored: it must be one of thread, process, none.'],
    [
      'marline: { intraOpThreads: 0 }',
      'marline.intraOpThreads is ignored: it must be a whole number from 1 to 1024.',
    ],
    [
      'marline: { devices: [gpu] }',
      'marline.devices is ignored: it must be a list of cpu, cuda and cuda:<number>.',
    ],
    [
      'marline: { devices: [] }',
      'marline.devices is ignored: it must be a list of cpu, cuda and cuda:<number>.',
    ],
    ['marline: { cpuFallback: 1 }', 'marline.cpuFallback is ignored: it must be true or false.'],
    ['marline: { constructor: 1 }', /^marline\.constructor is ignored: it is unknown; known are isolation, /],
  ])('leaves out what is wrong in %j and says why', (yaml, warning) => {
    expect(engine(yaml)).toEqual({
      engine: {},
      warnings: [typeof warning === 'string' ? warning : expect.stringMatching(warning)],
    });
  });
});
