import { describe, expect, it } from 'vitest';
import { sessionOptions, sharingOptions } from './session-options.js';

const plan = { executionProvider: 'cpu', deviceId: null, shared: false, intraOpThreads: 2 } as const;

describe('sessionOptions', () => {
  it('sets threads explicitly and never spins', () => {
    expect(sessionOptions(plan)).toMatchObject({
      intraOpNumThreads: 2,
      interOpNumThreads: 1,
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
  });

  it('keeps int8 weights from overflowing, in both forms of a model', () => {
    const exact = { extra: { session: { x64quantprecision: '1' } } };
    expect(sessionOptions({ ...plan, shared: true })).toMatchObject(exact);
    expect(sharingOptions('/cache/model.onnx', 1)).toMatchObject(exact);
  });

  it('does not optimise the shared form again', () => {
    expect(sessionOptions(plan).graphOptimizationLevel).toBe('all');
    expect(sessionOptions({ ...plan, shared: true }).graphOptimizationLevel).toBe('disabled');
  });

  it('names the GPU for CUDA only', () => {
    expect(sessionOptions({ ...plan, executionProvider: 'cuda', deviceId: 2 }).executionProviders).toEqual([
      { name: 'cuda', deviceId: 2 },
      'cpu',
    ]);
    expect(sessionOptions({ ...plan, deviceId: 2 }).executionProviders).toEqual(['cpu']);
  });
});

describe('sharingOptions', () => {
  it('writes the weights to a file of their own and keeps the rest of the options', () => {
    expect(sharingOptions('/cache/model.onnx', 1)).toMatchObject({
      optimizedModelFilePath: '/cache/model.onnx',
      graphOptimizationLevel: 'all',
      extra: {
        session: {
          intra_op: { allow_spinning: '0' },
          optimized_model_external_initializers_file_name: 'model.weights',
        },
      },
    });
  });
});
