// Proves that the file of a workflow may be a program too: in the process of a stage no pipeline is started, whatever
// the process is called, and start() says there what to do.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { DEVICE } from '../pipeline/support.js';

const INDEX = require.resolve('../../src/ts/index.js');

/** Runs a module that exports `flow` and goes on with `code`; by itself, or imported by another program. */
function run(t: { teardown: (work: () => void) => void }, code: string, imported: boolean) {
  const folder = mkdtempSync(join(tmpdir(), 'stage-process-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const module = join(folder, 'app.mjs');
  const program = `
    import { createRequire } from 'node:module';
    import { fileURLToPath } from 'node:url';
    const { LocalPipeline, stageProcess, workflow } = createRequire(import.meta.url)(${JSON.stringify(INDEX)});
    const module = fileURLToPath(import.meta.url);
    export const flow = workflow('flow', { module }).stage('a', { instances: 2, handler: () => ({ meta: { at: stageProcess() } }) });
    const device = ${JSON.stringify(DEVICE)};
    ${code}`;
  writeFileSync(module, program);
  const container = join(folder, 'container.cjs');
  writeFileSync(container, `import(${JSON.stringify(pathToFileURL(module).href)});`);
  const file = imported ? container : module;
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 30_000 });
  return { status, stdout, stderr };
}

const RUN = `const { outputs } = await pipeline.run({}); console.log(outputs[0].meta.at, stageProcess());`;

void t.test('main() needs no guard, by itself or under a process manager that imports the file', async (t) => {
  for (const imported of [false, true]) {
    const code = `const n = await LocalPipeline.main(flow, async (pipeline) => { ${RUN} return 7; }, { device });
      if (stageProcess() === undefined) console.log(n);`;
    const { status, stdout, stderr } = run(t, code, imported);
    t.match({ status, stdout }, { status: 0, stdout: /^a\/[01] undefined\n7\n$/ }, stderr);
  }
});

void t.test('main() closes the pipeline when its work fails', async (t) => {
  const { status, stderr } = run(
    t,
    `await LocalPipeline.main(flow, () => { throw new Error('of the work'); }, { device });`,
    false,
  );
  t.equal(status, 1);
  t.match(stderr, /of the work/);
});

void t.test('stageProcess() is a guard that holds everywhere', async (t) => {
  const code = `if (stageProcess() === undefined) {
      const pipeline = await LocalPipeline.start(flow, { device }); ${RUN} await pipeline.close(); }`;
  const { status, stdout, stderr } = run(t, code, true);
  t.match({ status, stdout }, { status: 0, stdout: /^a\/[01] undefined\n$/ }, stderr);
});

void t.test(
  'start() without a guard is refused in the process of a stage, with a remedy, and ends the start',
  async (t) => {
    for (const code of [
      'const pipeline = await LocalPipeline.start(flow, { device });',
      'void LocalPipeline.start(flow, { device }).then((pipeline) => pipeline.close());',
    ]) {
      const { status, stderr } = run(t, code, false);
      t.equal(status, 1);
      t.match(stderr, /RDMA_ERR_STAGE_PROCESS: this process runs a\/[01].*LocalPipeline\.main/, code);
    }
  },
);
