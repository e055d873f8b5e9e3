import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { InferenceObserver } from '#libs/common';
import { describeOptions, effectiveOptions } from './effective-options.js';

const folder = mkdtempSync(join(tmpdir(), 'marline-options-'));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

const check = (given: object, environment: Record<string, string> = {}) =>
  effectiveOptions({ cacheDir: join(folder, 'cache'), ...given }, environment);

describe('options', () => {
  it('are filled with defaults', () => {
    const { values, origins } = check({});
    expect(values).toMatchObject({
      loadModels: [],
      jobQueueSize: 100,
      defaultResponseTimeout: 120,
      maxRequestSize: 6_553_500,
      intraOpThreads: 1,
      drainTimeoutMs: 30_000,
      enableModelApi: true,
    });
    expect(origins['jobQueueSize']).toBe('default');
  });

  it('win over the environment, which wins over the default', () => {
    const environment = {
      MARLINE_JOB_QUEUE_SIZE: '7',
      MARLINE_INTRA_OP_THREADS: '2',
      MARLINE_LOAD_MODELS: 'a.mar, b=b.mar',
      MARLINE_MODEL_STORE: folder,
      MARLINE_ENABLE_MODEL_API: 'false',
    };
    const { values, origins } = check({ jobQueueSize: 9 }, environment);
    expect(values).toMatchObject({
      jobQueueSize: 9,
      intraOpThreads: 2,
      loadModels: ['a.mar', 'b=b.mar'],
      modelStore: folder,
      enableModelApi: false,
    });
    expect(origins).toMatchObject({
      jobQueueSize: 'option',
      intraOpThreads: 'environment',
      drainTimeoutMs: 'default',
    });
  });

  it('refuse a pattern that is none, and a file of metrics that is not there', () => {
    expect(() => check({ blacklistEnvVars: '(' })).toThrow(
      'blacklistEnvVars is "(": give a regular expression, or leave it out.',
    );
    expect(() => check({ metricsConfig: 'nowhere.yaml' })).toThrow(
      'metricsConfig is "nowhere.yaml": there is no',
    );
    expect(check({ blacklistEnvVars: '.*TOKEN' }).values.blacklistEnvVars).toBe('.*TOKEN');
  });

  it('keep a schedule as it is, and refuse what is no function', () => {
    const schedule = () => ({ priority: 'high' as const });
    const options = check({ schedule }, { MARLINE_SCHEDULE: 'x' });
    expect(options.values.schedule).toBe(schedule);
    expect(describeOptions(options)).toContain('schedule=given (option)');
    expect(() => check({ schedule: 'high' })).toThrow('schedule is "high": give a function of the request');
  });

  it('keep an observer and devices as they are', () => {
    const observer = new (class extends InferenceObserver {})();
    const devices = [{ kind: 'cpu', index: 0, executionProvider: 'cpu' }];
    const { values } = check({ observer, devices });
    expect(values.observer).toBe(observer);
    expect(values.devices).toBe(devices);
  });

  it.each([
    ['an unknown name', { jobQueSize: 1 }, 'There is no option jobQueSize; did you mean jobQueueSize?'],
    [
      "TorchServe's spelling",
      { model_store: '/' },
      'There is no option model_store; did you mean modelStore?',
    ],
    ['a misspelt shape', { mout: 'ml' }, 'There is no option mout; did you mean mount?'],
    ['a name that is near none', { flavour: 'mint' }, 'There is no option flavour.'],
    [
      'what belongs beside the factory',
      { mount: 'ml' },
      'mount shapes the modules: give it to forRootAsync itself, beside the factory.',
    ],
    [
      'a text for a number',
      { jobQueueSize: 'many' },
      'jobQueueSize is "many": give a whole number of requests from 1 up.',
    ],
    [
      'a number that is too small',
      { intraOpThreads: 0 },
      'intraOpThreads is 0: give a whole number of threads from 1 up.',
    ],
    [
      'a text for a list',
      { loadModels: 'all' },
      'loadModels is "all": give a list of files of the model store, or [\'all\'].',
    ],
    [
      'models without a store',
      { loadModels: ['all'] },
      'loadModels is ["all"]: give modelStore too, the folder of these archives.',
    ],
    [
      'a store that is not there',
      { modelStore: '/nowhere/at/all' },
      'modelStore is "/nowhere/at/all": there is no such folder; make it, or name another.',
    ],
    ['an empty store', { modelStore: '' }, 'modelStore is "": give the path of a folder.'],
    [
      'no observer',
      { observer: 'me' },
      'observer is "me": give an object of a class that extends InferenceObserver.',
    ],
  ])('refuse %s with the name, the value and the fix', (_what, given, text) => {
    expect(() => check(given)).toThrow(text);
    expect(() => check(given)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }) as Error);
  });

  it('tell everything that is wrong at once', () => {
    expect(() => check({ jobQueueSize: 0, defaultStartupTimeout: 1.5, colour: 1 })).toThrow(
      /colour.*jobQueueSize is 0.*defaultStartupTimeout is 1.5/s,
    );
  });

  it('name the variable when the environment is wrong', () => {
    expect(() => check({}, { MARLINE_MAX_REQUEST_SIZE: 'big' })).toThrow(
      'MARLINE_MAX_REQUEST_SIZE is "big": give a whole number of bytes from 1 up.',
    );
  });

  it('make the cache folder for this user alone', () => {
    const cacheDir = join(folder, 'new', 'cache');
    check({ cacheDir });
    expect(existsSync(cacheDir)).toBe(true);
    expect(statSync(cacheDir).mode & 0o777).toBe(0o700);
  });

  it('do not follow a link that somebody put where the default cache folder belongs', () => {
    const [temporary, theirs] = [join(folder, 'tmp'), join(folder, 'theirs')];
    mkdirSync(temporary);
    mkdirSync(theirs);
    vi.stubEnv('TMPDIR', temporary);
    symlinkSync(theirs, join(temporary, `marline-${process.getuid?.()}`));
    expect(() => effectiveOptions({}, {})).toThrow('belongs to another user: name a folder of your own.');
  });

  it('are shown in one line with their origins', () => {
    const line = describeOptions(check({ jobQueueSize: 9 }, { MARLINE_DRAIN_TIMEOUT_MS: '5' }));
    expect(line).toContain('jobQueueSize=9 (option), ');
    expect(line).toContain('drainTimeoutMs=5 (environment)');
    expect(line).toContain('modelStore=none (default)');
    expect(line).not.toContain('\n');
  });
});
