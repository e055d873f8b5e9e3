import { HealthIndicatorService } from '@nestjs/terminus';
import { describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import type { ModelRegistry, ModelRuntime, ModelStatus } from '#libs/inference';
import { MarlineHealthIndicator } from './health.indicator.js';

function model(
  name: string,
  status: ModelStatus['status'],
  options: { atStartup?: boolean; version?: string; error?: MarlineError } = {},
) {
  const state = { status, readyWorkers: status === 'ready' ? 1 : 0, error: options.error };
  const runtime = {
    name,
    version: options.version ?? '1.0',
    loadedAtStartup: options.atStartup ?? true,
    status: () => state,
  };
  return { runtime: runtime as unknown as ModelRuntime, state };
}

function indicatorOf(
  models: { runtime: ModelRuntime }[],
  more: { failures?: [string, MarlineError][]; shuttingDown?: boolean } = {},
) {
  const runtimes = models.map(({ runtime }) => runtime);
  const registry = {
    shuttingDown: more.shuttingDown ?? false,
    startupFailures: new Map(more.failures ?? []),
    names: () => runtimes.map(({ name }) => name),
    all: () => runtimes,
    get: (name: string) => runtimes.find((runtime) => runtime.name === name),
  };
  return new MarlineHealthIndicator(registry as unknown as ModelRegistry, new HealthIndicatorService());
}

describe('readiness', () => {
  it('is up when every start-up model is ready, and names each', () => {
    const indicator = indicatorOf([model('fraud', 'ready'), model('mnist', 'ready')]);
    expect(indicator.ready()).toEqual({
      marline: { status: 'up', models: { fraud: 'ready', mnist: 'ready' } },
    });
    expect(indicator.ready('models')).toHaveProperty('models');
  });

  it.each(['starting', 'unavailable', 'failed'] as const)(
    'is down while a start-up model is %s',
    (status) => {
      const indicator = indicatorOf([model('fraud', 'ready'), model('mnist', status)]);
      expect(indicator.ready()).toMatchObject({ marline: { status: 'down', models: { mnist: status } } });
    },
  );

  it('is down for a start-up model that could not be loaded, until it was registered after all', () => {
    const failures: [string, MarlineError][] = [
      ['fraud', new MarlineError('ARCHIVE_NOT_FOUND', { url: 'fraud.mar' })],
    ];
    expect(indicatorOf([], { failures }).ready()).toMatchObject({
      marline: { status: 'down', models: { fraud: 'not loaded' } },
    });
    expect(indicatorOf([], { failures }).models()).toMatchObject([
      { fraud: { status: 'down', message: 'Model not found at: fraud.mar' } },
    ]);
    expect(indicatorOf([model('fraud', 'ready')], { failures }).ready()).toMatchObject({
      marline: { status: 'up' },
    });
  });

  it('does not care for a model that was scaled to nothing on purpose', () => {
    expect(indicatorOf([model('fraud', 'stopped')]).ready()).toMatchObject({ marline: { status: 'up' } });
  });

  it('counts a model that was registered later from the moment it was ready', () => {
    const later = model('later', 'starting', { atStartup: false });
    const indicator = indicatorOf([model('fraud', 'ready'), later]);
    expect(indicator.ready()).toEqual({ marline: { status: 'up', models: { fraud: 'ready' } } });
    later.state.status = 'ready';
    expect(indicator.ready()).toMatchObject({ marline: { status: 'up', models: { later: 'ready' } } });
    later.state.status = 'unavailable';
    expect(indicator.ready()).toMatchObject({
      marline: { status: 'down', models: { later: 'unavailable' } },
    });
  });

  it('is not hidden by a second version that is well', () => {
    const versions = [
      model('fraud', 'failed', { version: '1.0' }),
      model('fraud', 'ready', { version: '2.0' }),
    ];
    expect(indicatorOf(versions).models()).toMatchObject([{ fraud: { status: 'down', version: '1.0' } }]);
    expect(indicatorOf(versions.toReversed()).models()).toMatchObject([
      { fraud: { status: 'down', version: '1.0' } },
    ]);
  });

  it('is down while the application stops, and says so', () => {
    const indicator = indicatorOf([model('fraud', 'ready')], { shuttingDown: true });
    expect(indicator.ready()).toEqual({
      marline: { status: 'down', message: 'The server is shutting down.' },
    });
    expect(indicator.serving()).toMatchObject({ server: { status: 'down' } });
  });
});

describe('the indicator of one model', () => {
  it('tells version, state, workers and what is wrong', () => {
    const error = new MarlineError('MODEL_INVALID', { reason: 'The file is no ONNX model.' });
    const indicator = indicatorOf([model('fraud', 'failed', { error })]);
    expect(indicator.model('fraud')).toEqual({
      fraud: {
        status: 'down',
        version: '1.0',
        state: 'failed',
        readyWorkers: 0,
        message: 'The file is no ONNX model.',
      },
    });
  });
});
