/** What a worker thread or an archive's handler loads at run time stays free of Nest: importing it costs each worker 350 ms. */
const { options } = require('./dependency-cruiser.cjs');

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'worker-code-is-free-of-nest',
      severity: 'error',
      from: { path: ['^libs/handler/src/worker\\.ts$', '\\.worker\\.ts$', '^libs/(common|pool)/'] },
      to: { path: 'node_modules/(@nestjs|rxjs|class-validator|class-transformer|fastify)', reachable: true },
    },
  ],
  // Types are gone at run time, so imports are looked at as they are after compilation.
  options: { ...options, tsPreCompilationDeps: false },
};
