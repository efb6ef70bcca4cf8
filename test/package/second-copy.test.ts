// Proves that a workflow, tensors and errors of a second copy of this package (a hoisted dependency, a linked checkout)
// serve a pipeline of the first one.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { findRoot } from './root.js';

const root = findRoot();

void t.test('a pipeline runs a workflow that another copy has made', async (t) => {
  const folder = t.testdir({
    'main.mjs': `
      import { createRequire } from 'node:module';
      import { isRdmaError, LocalPipeline } from 'first';
      import { RdmaError, tensor, workflow, Workflow } from 'second';
      if (createRequire(import.meta.url)('first').Workflow === Workflow) throw new Error('these are one copy');
      export const sum = workflow('sum', { module: import.meta.url }).stage('add', {
        handler: (task) => {
          const { data } = task.input('request').parts.x;
          if (data.length === 0) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'nothing to add');
          return { parts: { sum: tensor('f32', [1], Float32Array.of(data.reduce((a, b) => a + b))) } };
        },
      });
      if (process.send === undefined) {
        const pipeline = await LocalPipeline.start(sum);
        const result = await pipeline.run({ parts: { x: tensor('f32', [2], Float32Array.of(1, 2)) } });
        console.log(result.outputs[0].parts.sum.data[0]);
        const empty = { parts: { x: tensor('f32', [0], new Float32Array(0)) } };
        await pipeline.run(empty).catch((error) => console.log(isRdmaError(error), error.message));
        await pipeline.close();
      }`,
  });
  const modules = path.join(folder, 'node_modules');
  fs.mkdirSync(path.join(modules, 'second'), { recursive: true });
  for (const name of ['lib', 'package.json']) {
    fs.cpSync(path.join(root, name), path.join(modules, 'second', name), { recursive: true });
  }
  fs.symlinkSync(root, path.join(modules, 'first'));
  for (const name of ['node-gyp-build', 'valibot']) {
    fs.symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name));
  }
  const { stdout, stderr } = spawnSync(process.execPath, ['main.mjs'], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 60_000,
  });
  const [sum, failed] = stdout.split('\n');
  t.equal(sum, '3', stderr);
  t.match(failed, /^true .*nothing to add/, stderr);
});
