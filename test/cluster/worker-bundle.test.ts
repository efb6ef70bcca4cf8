// Proves what a worker process loads, and what its memory is: one file of this package, whichever way the workflow's
// module imports it; and that importing the package loads no command line, benchmark or picture library.
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { packageRoot } from '../../src/ts/addon/native.js';

const root = packageRoot();
// Below the package, so that its name resolves to the build in lib/.
const folder = join(root, 'build-test', `worker-bundle-${process.pid}`);
mkdirSync(folder, { recursive: true });
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

// Loaded before everything else, also in workers, which take `--require` over: keeps the name of each file that is
// compiled.
const recorder = join(folder, 'recorder.cjs');
writeFileSync(
  recorder,
  `const { _extensions: extensions } = require('node:module');
  const compile = extensions['.js'];
  globalThis.compiled = [];
  extensions['.js'] = (module, file) => {
    globalThis.compiled.push(file);
    compile(module, file);
  };`,
);

const common = (module: string) => `
function stackOf(work) {
  try {
    return work();
  } catch (error) {
    return error.stack;
  }
}
export const graph = workflow('loads', { module: ${module}, maxRequestBytes: 65536 }).stage('look', {
  maxOutputBytes: 65536,
  handler: () => ({
    meta: {
      files: globalThis.compiled,
      same: ring.RdmaError === RdmaError && Outbox === ring.Outbox,
      stack: stackOf(() => Device.open(1)),
      rollup: readFileSync('/proc/self/smaps_rollup', 'utf8'),
    },
  }),
});
`;

const esm = `
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Device, Outbox, RdmaError, workflow } from 'onepiece-rdma';
import * as ring from 'onepiece-rdma/ring';
${common('fileURLToPath(import.meta.url)')}`;

const cjs = `
const { readFileSync } = require('node:fs');
const { Device, Outbox, RdmaError, workflow } = require('onepiece-rdma');
const ring = require('onepiece-rdma/ring');
${common('__filename').replace('export const graph', 'exports.graph')}`;

interface Look {
  files: string[];
  same: boolean;
  stack: string;
  rollup: string;
}

/** Runs a program in a process of its own; answers the JSON that it prints. */
async function evaluate(program: string, options: readonly string[] = []): Promise<unknown> {
  const args = ['--require', recorder, ...options, '--input-type=module', '-e', program];
  const env = { ...process.env, XDG_CACHE_HOME: folder };
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder, env, timeout: 60_000 });
  return JSON.parse(stdout);
}

/** What the handler in `name` sees of its process. */
async function look(name: string, code: string, options: readonly string[] = []): Promise<Look> {
  const file = join(folder, name);
  writeFileSync(file, code);
  const program = `
    import { LocalPipeline } from 'onepiece-rdma';
    import { graph } from ${JSON.stringify(pathToFileURL(file).href)};
    const pipeline = await LocalPipeline.start(graph);
    const { outputs } = await pipeline.run({});
    await pipeline.close();
    console.log(JSON.stringify(outputs[0].meta));
  `;
  return (await evaluate(program, options)) as Look;
}

const loader = ['node_modules/node-gyp-build/index.js', 'node_modules/node-gyp-build/node-gyp-build.js'];

// The bundle is none of them: it is compiled as a script, which V8 may have compiled before.
const start = ['lib/cluster/code-cache.js', 'lib/cluster/worker-start.js'];

for (const [name, code, own] of [
  ['workflow.cjs', cjs, ['workflow.cjs']],
  ['workflow.mjs', esm, []],
] as const) {
  void t.test(`a worker reads no module of this package but its bundle for ${name}`, async (t) => {
    const { files, same, stack, rollup } = await look(name, code);
    const wanted = [...start, ...loader, ...own.map((file) => relative(root, join(folder, file)))];
    t.same(files.map((file) => relative(root, file)).sort(), wanted.sort());
    t.equal(same, true, 'every entry point of the package gives the same classes');
    t.match(stack, /RDMA_ERR_INVALID_ARGUMENT.*\n.*lib\/cluster\/worker-bundle\.js:\d+/);
    const rssMiB = Number(/^Rss:\s+(\d+) kB$/m.exec(rollup)?.[1]) / 1024;
    t.ok(rssMiB > 20 && rssMiB < 70, `${rssMiB} MiB`);
  });
}

void t.test(
  'what is compiled of the bundle is kept when a worker is ready, and when it has worked, each once',
  async (t) => {
    for (let i = 0; i < 2; i++) {
      await look('workflow.cjs', cjs);
      const files = readdirSync(join(folder, 'onepiece-rdma')).sort();
      t.equal(files.length, 2);
      t.match(files[0], /-started\.v8-code$/);
      t.match(files[1], /-worked\.v8-code$/);
    }
  },
);

void t.test('with source maps an error names the lines of the sources', async (t) => {
  const { files, stack } = await look('mapped.cjs', cjs, ['--enable-source-maps']);
  t.ok(files.map((file) => relative(root, file)).includes('lib/cluster/worker-bundle.js'));
  t.match(stack, /src\/ts\/core\/validate\.ts:\d+/);
});

void t.test('importing the package loads its own layers and valibot, and the addon at the first use', async (t) => {
  const program = (use: string) => `
    import * as rdma from 'onepiece-rdma';
    ${use}
    console.log(JSON.stringify(globalThis.compiled));
  `;
  const load = async (use: string) => ((await evaluate(program(use))) as string[]).map((file) => relative(root, file));
  const files = await load('');
  const folders = files.map((file) => /^lib\/(\w+)\//.exec(file)?.[1] ?? file);
  const layers = [
    'addon',
    'cluster',
    'connect',
    'control',
    'core',
    'jobs',
    'pipeline',
    'planner',
    'rdmacm',
    'ring',
    'verbs',
  ];
  t.same([...new Set(folders)].sort(), [...layers, 'lib/index.js', 'node_modules/valibot/dist/index.cjs'].sort());
  const used = await load('rdma.listDevices();');
  t.same(used.filter((file) => !files.includes(file)).sort(), loader);
});

void t.test('the bundle is that of the sources, byte by byte', async (t) => {
  const { bundleWorker } = (await import(join(root, 'scripts/bundle-worker.mjs'))) as {
    bundleWorker: (root: string, outDir: string) => Promise<Record<string, string>>;
  };
  const files = await bundleWorker(root, join(root, 'lib'));
  t.same(Object.keys(files).sort(), ['cluster/worker-bundle.js', 'cluster/worker-bundle.js.map']);
  for (const [name, text] of Object.entries(files)) {
    t.ok(readFileSync(join(root, 'lib', name), 'utf8') === text, name);
  }
});
