import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { built } from '../test/support/built.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Specs that run in the process of others. */
const SHARED = [
  '{src,libs}/**/*.spec.ts',
  'test/{archive,gateway,grpc,handler,http,security}/*.spec.ts',
  'test/serving/!(gpu).spec.ts',
  'test/inference/!(onnx-worker).spec.ts',
];

/** The sources start threads and processes from the build: Node.js runs no TypeScript, and a loader for it costs more than the start itself. */
const startsFromBuild: Plugin = {
  name: 'starts-from-build',
  enforce: 'pre',
  transform(code, id) {
    const path = relative(root, id);
    if (!/^(?:src|libs)\/.*(?<!\.spec)\.ts$/.test(path) || !code.includes('import.meta.url')) return null;
    const url = JSON.stringify(built(path.replace(/\.ts$/, '.js')).href);
    return { code: `import.meta.url = ${url}; ${code}`, map: null };
  },
};

export default defineConfig({
  root,
  plugins: [startsFromBuild],
  resolve: {
    // No condition, as for the build and for type checks: vitest would hand it on to Node.js, and to what that starts.
    alias: [
      { find: '#libs/handler/worker', replacement: `${root}libs/handler/src/worker.ts` },
      { find: /^#libs\/(\w+)$/, replacement: `${root}libs/$1/src/index.ts` },
    ],
  },
  test: {
    pool: 'forks',
    // Specs wait for children, timers and files for a third of the time: Python, servers, worker processes. By default two cores would
    // run one file at a time.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default', `${root}test/support/summary-reporter.ts`],
    globalSetup: `${root}test/support/fresh-build.ts`,
    projects: [
      // Specs that leave nothing behind share what was imported, which makes them up to four times as fast.
      { extends: true, test: { name: 'shared', include: SHARED, isolate: false } },
      { extends: true, test: { name: 'apart', include: ['test/**/*.spec.ts'], exclude: SHARED } },
    ],
  },
});
