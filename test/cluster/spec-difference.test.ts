// Proves that a worker whose module was changed is refused by name, that its neighbours go on, and that it comes back
// when the module is what it was.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { specDifference } from '../../src/ts/cluster/spec-difference.js';
import { checkSpec, type Workflow } from '../../src/ts/pipeline/index.js';
import type { StageSpecInput } from '../../src/ts/pipeline/spec.js';
import { DEVICE, until, within } from '../pipeline/support.js';

const specOf = (...stages: StageSpecInput[]) => checkSpec({ name: 'changed', stages });
const a = { name: 'a' };
const b = { name: 'b', after: ['a'] };

void t.test('what matters to a worker is named, and nothing else', async (t) => {
  const spec = specOf(a, b);
  t.equal(specDifference(spec, specOf(a, b)), undefined);
  t.equal(specDifference(spec, JSON.parse(JSON.stringify(spec))), undefined);
  t.equal(specDifference(spec, specOf({ ...a, instances: 7, maxOutputBytes: 5 }, b)), undefined);
  t.match(specDifference(spec, specOf(a)), /no stage b/);
  t.match(specDifference(spec, specOf(a, b, { name: 'c', after: ['b'] })), /stage c is new/);
  t.match(specDifference(specOf(a, { name: 'b' }), specOf({ name: 'b' }, a)), /stage b is number 1/);
  t.match(specDifference(spec, specOf({ ...a, concurrency: 3 }, b)), /concurrency of stage a is 3, and was 1/);
  t.match(specDifference(spec, specOf(a, { name: 'b' })), /after of stage b is \["request"\], and was \["a"\]/);
  t.match(specDifference(spec, specOf({ ...a, spread: 'shard' }, b)), /spread of stage a is "shard"/);
  t.match(
    specDifference(spec, specOf({ ...a, taskTimeoutMs: 9 }, b)),
    /taskTimeoutMs of stage a is 9, and was not there/,
  );
});

void t.test(
  'a module that was changed since the start breaks the places that are replaced, and no others',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'changed-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'changed.js');
    const library = require.resolve('../../src/ts/pipeline/index.js');
    const write = (options: string) =>
      writeFileSync(
        file,
        `const { workflow } = require(${JSON.stringify(library)});
       exports.changed = workflow('changed', { module: __filename })
         .stage('a', { instances: 2, ${options} handler: (task) => ({ meta: { instance: task.instance } }) });`,
      );
    write('');
    const { changed } = require(file) as { changed: Workflow };
    const pipeline = await within('the start', LocalPipeline.start(changed, { device: DEVICE }), 60_000);
    t.teardown(() => pipeline.close());
    write('concurrency: 2,');
    const { pid } = pipeline.processes.find(({ instance }) => instance === 1)!;
    process.kill(pid, 'SIGKILL');
    await until('restarts', () => pipeline.restarts.length >= 3, 60_000);
    t.match(pipeline.restarts.at(-1)!.reason, /changed\.js is another one .*: concurrency of stage a is 2, and was 1/);
    t.ok(
      pipeline.restarts.every(({ instance }) => instance === 1),
      'the other one was not touched',
    );
    t.equal(pipeline.error, undefined);
    for (let i = 0; i < 10; i++) {
      const { outputs } = await within('a result', pipeline.run({}), 60_000);
      t.equal(outputs[0]!.meta.instance, 0, 'the other one works');
    }
    write('');
    const state = async () => (await pipeline.status()).supervision['a/1']!.state;
    const ready = async () => {
      while ((await state()) !== 'ready') await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await within('its return', ready(), 60_000);
  },
);
