/** The arrows of docs/architecture.md: a library imports only what stands to its left on the data path. */
const reaches = {
  common: [],
  archive: ['common'],
  handler: ['common', 'archive'],
  pool: ['common'],
  python: ['common', 'pool'],
  inference: ['common', 'archive', 'handler', 'pool', 'python'],
  management: ['common', 'archive', 'handler', 'pool', 'python', 'inference'],
  serve: ['common', 'archive', 'handler', 'pool', 'python', 'inference', 'management'],
  grpc: ['common', 'archive', 'handler', 'pool', 'python', 'inference', 'management', 'serve'],
};
const all = Object.keys(reaches);

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...all.map((library) => ({
      name: `${library}-reaches-left`,
      comment: `libs/${library} may import ${reaches[library].join(', ') || 'no other library'}`,
      severity: 'error',
      from: { path: `^libs/${library}/` },
      to: { path: `^(src|test|libs/(${all.filter((l) => l !== library && !reaches[library].includes(l)).join('|') || '-'}))/` },
    })),
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-deep-imports',
      comment: 'Another library is imported through its index (or the worker entry of handler).',
      severity: 'error',
      from: { path: '^libs/([^/]+)/' },
      to: { path: '^libs/([^/]+)/src/', pathNot: ['^libs/$1/', '/src/index\\.ts$', '^libs/handler/src/worker\\.ts$'] },
    },
    {
      name: 'src-uses-indexes',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^libs/[^/]+/src/', pathNot: ['/src/index\\.ts$', '^libs/handler/src/worker\\.ts$'] },
    },
    {
      name: 'pool-is-free-of-onnx',
      severity: 'error',
      from: { path: '^libs/(common|pool|python|archive|handler)/' },
      to: { path: 'node_modules/onnxruntime' },
    },
    {
      name: 'doors-only-in-serve',
      severity: 'error',
      from: { path: '^libs/(?!serve/|grpc/)' },
      to: { path: 'node_modules/(@nestjs/(terminus|bull)|bull)' },
    },
    {
      name: 'grpc-only-in-grpc',
      comment: 'A gateway without gRPC does not have these packages.',
      severity: 'error',
      from: { pathNot: '^libs/grpc/' },
      to: { path: 'node_modules/(@nestjs/microservices|@grpc)' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '\\.spec\\.ts$' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { conditionNames: ['marline-source', 'import', 'require', 'node', 'default', 'types'], exportsFields: ['exports'] },
  },
};
