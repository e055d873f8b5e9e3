import { describe, expect, it } from 'vitest';
import { overridesOf, type ModelOverrides } from './version-overrides.js';

describe('overridesOf', () => {
  it('is what is said of that version', () => {
    const models = { echo: { '1.0': { batchSize: 4, runtimeType: 'python' }, '2.0': { batchSize: 8 } } };
    expect(overridesOf(models, 'echo', '1.0')).toEqual({ batchSize: 4, runtimeType: 'python' });
    expect(overridesOf(models, 'echo', '3.0')).toEqual({});
    expect(overridesOf(models, 'other', '1.0')).toEqual({});
  });

  it('passes over what is no number above 0, as TorchServe does', () => {
    const said = { minWorkers: 0, maxWorkers: -1, batchSize: '4', maxBatchDelay: 1.5, responseTimeout: null };
    const models = { echo: { '1.0': { ...said, marName: 'echo.mar', startupTimeout: 9 } } };
    expect(overridesOf(models as unknown as ModelOverrides, 'echo', '1.0')).toEqual({ startupTimeout: 9 });
  });

  it.each(['__proto__', 'constructor', 'toString'])('knows nothing of a model called %s', (name) => {
    expect(overridesOf({}, name, name)).toEqual({});
    expect(overridesOf({ [name]: 'x' } as unknown as ModelOverrides, name, 'length')).toEqual({});
  });
});
