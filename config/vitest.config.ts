import { fileURLToPath } from 'node:url';
import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('..', import.meta.url));
const conditions = ['marline-source', ...defaultServerConditions];

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
      // Specs beside the sources start nothing that outlives them: sharing what was imported makes them three times as fast.
      { extends: true, test: { name: 'units', include: ['{src,libs}/**/*.spec.ts'], isolate: false } },
      { extends: true, test: { name: 'whole', include: ['test/**/*.spec.ts'] } },
    ],
    execArgv: ['--conditions=marline-source', `--import=${new URL('../test/support/ts-register.mjs', import.meta.url).href}`],
  },
});
