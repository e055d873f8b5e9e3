import { fileURLToPath } from 'node:url';
import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('..', import.meta.url));
const conditions = ['marline-source', ...defaultServerConditions];

/** Specs that run in the process of others. */
const SHARED = ['{src,libs}/**/*.spec.ts', 'test/{archive,handler,http}/*.spec.ts', 'test/inference/!(onnx-worker).spec.ts'];

export default defineConfig({
  root,
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: 'forks',
    // Half of the time specs wait for children: Python, servers, worker processes. By default two cores would run one file at a time.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default', `${root}test/support/summary-reporter.ts`],
    projects: [
      // Specs that leave nothing behind share what was imported, which makes them up to four times as fast.
      { extends: true, test: { name: 'shared', include: SHARED, isolate: false } },
      { extends: true, test: { name: 'apart', include: ['test/**/*.spec.ts'], exclude: SHARED } },
    ],
    execArgv: ['--conditions=marline-source', `--import=${new URL('../test/support/ts-register.mjs', import.meta.url).href}`],
  },
});
