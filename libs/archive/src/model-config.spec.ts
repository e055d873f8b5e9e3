import { describe, expect, it } from 'vitest';
import { parseModelConfig } from './model-config.js';

const settings = (text: string) => {
  const { engine: _, raw: __, warnings: ___, ...rest } = parseModelConfig(text);
  return rest;
};

describe('parseModelConfig', () => {
  it('reads every key that TorchServe knows', () => {
    const text = [
      'minWorkers: 1',
      'maxWorkers: 2',
      'batchSize: 3',
      'maxBatchDelay: 77',
      'responseTimeout: 33',
      'startupTimeout: 44',
      'deviceType: GPU',
      'deviceIds: [0, 2]',
      'parallelType: tp',
      'parallelLevel: 2',
      'maxRetryTimeoutInSec: 9',
      'clientTimeoutInMills: 5000',
      'jobQueueSize: 7',
      'useJobTicket: true',
      'continuousBatching: false',
      'sequenceBatching: true',
      'sequenceMaxIdleMSec: 10',
      'sequenceTimeoutMSec: 11',
      'maxSequenceJobQueueSize: 12',
      'maxNumSequence: 13',
      'asyncCommunication: yes',
      'useVenv: off',
    ].join('\n');
    expect(settings(text)).toEqual({
      minWorkers: 1,
      maxWorkers: 2,
      batchSize: 3,
      maxBatchDelay: 77,
      responseTimeout: 33,
      startupTimeout: 44,
      deviceType: 'gpu',
      deviceIds: [0, 2],
      parallelType: 'tp',
      parallelLevel: 2,
      maxRetryTimeoutInSec: 9,
      clientTimeoutInMills: 5000,
      jobQueueSize: 7,
      useJobTicket: true,
      continuousBatching: false,
      sequenceBatching: true,
      sequenceMaxIdleMSec: 10,
      sequenceTimeoutMSec: 11,
      maxSequenceJobQueueSize: 12,
      maxNumSequence: 13,
      asyncCommunication: true,
      useVenv: false,
    });
  });

  it('raises what may not be smaller and leaves out what must not be', () => {
    const text =
      'minWorkers: -1\nbatchSize: 0\njobQueueSize: -5\nresponseTimeout: 0\nmaxWorkers: -1\nmaxBatchDelay: -2';
    expect(settings(text)).toEqual({ minWorkers: 1, batchSize: 1, jobQueueSize: 0 });
    expect(parseModelConfig(text).warnings).toEqual([
      'maxWorkers is ignored: it must be at least 0.',
      'maxBatchDelay is ignored: it must be at least 0.',
      'responseTimeout is ignored: it must be at least 1.',
    ]);
  });

  it.each([
    ['minWorkers: "2"'],
    ['minWorkers: 1.5'],
    ['minWorkers: 99999999999'],
    ['minWorkers:'],
    ['useVenv: 1'],
    ['deviceType: neuron'],
    ['deviceIds: [0, x]'],
    ['deviceIds: [-1]'],
    ['deviceIds: 0'],
    ['parallelType: xx'],
  ])('leaves out %j with a warning', (text) => {
    const config = parseModelConfig(text);
    expect(settings(text)).toEqual({});
    expect(config.warnings).toHaveLength(1);
    expect(Object.keys(config.raw)).toHaveLength(1);
  });

  it('reads what else torchrun is told, and leaves out what could be taken for something else', () => {
    const { torchrun, warnings } = parseModelConfig(
      'torchrun: { nproc-per-node: 2, nnodes: 2, rdzv-endpoint: "host:29400", rdzv-backend: "a b", master-port: no, OMP_NUMBER_THREADS: 4 }',
    );
    expect(torchrun).toEqual({ nnodes: 2, rdzvEndpoint: 'host:29400', ompNumberThreads: 4 });
    expect(warnings).toEqual([
      'torchrun.master-port is ignored: it must be a whole number from 1 to 65535.',
      'torchrun.rdzv-backend is ignored: it must be a name or an address.',
    ]);
  });

  it('takes the parallel level from torchrun', () => {
    expect(settings('parallelLevel: 1\ntorchrun: {nproc-per-node: 4}')).toEqual({ parallelLevel: 4 });
  });

  it('keeps unknown keys for the handler, merges and last of equal keys as Python does', () => {
    const text = 'base: &b {a: 1}\nhandler:\n  <<: *b\n  topk: 1\n  topk: 2';
    expect(parseModelConfig(text).raw).toEqual({ base: { a: 1 }, handler: { a: 1, topk: 2 } });
  });

  it.each([['minWorkers: : bad\n  - yaml'], [''], ['- a\n- b'], ['just text'], ['a: [1'], ['a: *nowhere']])(
    'takes %j for no configuration, with a warning',
    (text) => {
      const { warnings, ...config } = parseModelConfig(text);
      expect(config).toEqual({ engine: {}, raw: {} });
      expect(warnings).toEqual([expect.stringContaining('the model is served without it')]);
    },
  );
});
