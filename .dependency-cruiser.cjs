// The layers of src/ts, from the ground up. Invariant: a folder imports itself and folders to its left, nothing else.
const layers = [
  'core',
  'addon',
  'verbs',
  'rdmacm',
  'connect',
  'ring',
  'pipeline',
  'planner',
  'control',
  'jobs',
  'cluster',
  'observe',
  'demo',
  'serve',
  'sim',
  'bench',
  'interop',
  'doctor',
  'cli',
];
const publicLayers = ['verbs', 'rdmacm', 'connect', 'ring', 'pipeline', 'planner', 'control', 'jobs', 'cluster'];
/** What only the server needs: optional peer dependencies, each loaded when it is asked for. */
const optionalPeers =
  '(^|/)node_modules/(@nats-io/[a-z-]+|@opentelemetry/api|fastify|lmdb|node-forge|pino|prom-client|redis)/';

/** Scripts of a page: the build bundles what they import. */
const bundledPage = '^src/ts/observe/page/';

const folder = (...names) => `^src/ts/(${names.join('|')})/`;

const upward = layers.slice(0, -1).map((layer, i) => ({
  name: `${layer}-imports-only-downward`,
  comment: `src/ts/${layer} may import only itself${i ? ` and ${layers.slice(0, i).join(', ')}` : ''}`,
  severity: 'error',
  from: { path: folder(layer) },
  to: { path: folder(...layers.slice(i + 1)) },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...upward,
    {
      name: 'every-file-is-in-a-layer',
      comment: 'Beside index.ts, src/ts holds only the folders of the layers',
      severity: 'error',
      from: { path: '^src/ts/', pathNot: [folder(...layers), '^src/ts/index\\.ts$'] },
      to: {},
    },
    {
      name: 'no-lone-file-outside-the-layers',
      severity: 'error',
      from: { orphan: true, path: '^src/ts/', pathNot: [folder(...layers), '^src/ts/index\\.ts$'] },
      to: {},
    },
    {
      name: 'no-import-of-a-file-outside-the-layers',
      severity: 'error',
      from: {},
      to: { path: '^src/ts/', pathNot: [folder(...layers), '^src/ts/index\\.ts$'] },
    },
    {
      name: 'library-stays-in-src-ts',
      comment: 'What is shipped never imports tests, scripts or what was built',
      severity: 'error',
      from: { path: '^src/ts/' },
      to: { path: '^(test|bench|scripts|lib|build)' },
    },
    {
      name: 'bench-stands-on-the-library',
      comment:
        'What compares with others uses the library, its simulator and its measuring kit, and nothing else of ours',
      severity: 'error',
      from: { path: '^bench/' },
      to: {
        path: '^(src/ts|test|scripts|lib|build)',
        pathNot: folder('core', 'addon', 'verbs', 'connect', 'ring', 'pipeline', 'cluster', 'sim', 'bench'),
      },
    },
    {
      name: 'index-exports-public-layers',
      comment: `src/ts/index.ts may import only ${publicLayers.join(', ')}`,
      severity: 'error',
      from: { path: '^src/ts/index\\.ts$' },
      to: { path: '^src/ts/', pathNot: folder(...publicLayers) },
    },
    {
      name: 'layers-do-not-import-the-index',
      comment: 'Only the command line may use the library through its front door',
      severity: 'error',
      from: { path: folder(...layers.slice(0, -1)) },
      to: { path: '^src/ts/index\\.ts$' },
    },
    {
      name: 'only-addon-loads-the-addon',
      severity: 'error',
      from: { path: '^src/ts/', pathNot: folder('addon') },
      to: { path: ['node-gyp-build', '\\.node$'] },
    },
    {
      name: 'only-benchmarks-measure',
      comment: 'What the addon can do for measurements is no part of the library',
      severity: 'error',
      from: { path: '^src/ts/', pathNot: folder('bench') },
      to: { path: '^src/ts/addon/measuring\\.ts$' },
    },
    {
      name: 'only-the-command-line-plays-with-others',
      comment: 'interop/ speaks the protocols of programs of rdma-core; nothing else of ours builds on them',
      severity: 'error',
      from: { path: folder(...layers.filter((layer) => layer !== 'interop' && layer !== 'cli')) },
      to: { path: folder('interop') },
    },
    {
      name: 'only-demo-uses-sharp',
      severity: 'error',
      from: { path: '^src/ts/', pathNot: folder('demo') },
      to: { path: ['(^|/)node_modules/(sharp|@img)(/|$)', '^(sharp|@img)(/|$)'] },
    },
    {
      name: 'no-cycles',
      comment: 'At run time; a child may know the type of the parent that makes it',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-cycles-in-ring',
      comment: 'Not even of types: what a class needs of the one above it, it declares as an interface',
      severity: 'error',
      from: { path: folder('ring') },
      to: { circular: true, path: folder('ring') },
    },
    {
      name: 'no-development-dependencies',
      comment: 'The library runs from what npm installs for its users',
      severity: 'error',
      from: { path: '^src/ts/', pathNot: bundledPage },
      to: {
        pathNot: [optionalPeers],
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'undetermined'],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'everything-resolves',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: ['^sharp$', '^p-queue$', '^@nats-io/'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    detectProcessBuiltinModuleCalls: true,
    moduleSystems: ['cjs', 'es6'],
  },
};
