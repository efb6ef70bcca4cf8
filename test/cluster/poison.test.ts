// Proves that a request that ends the process which runs it fails alone: after its attempts, with stage and reason, at
// the first stage and behind another one, beside neighbours in the same process, and however many of them there are.
import t from 'tap';
import type { RdmaError } from '../../src/ts/pipeline/index.js';
import { within } from '../pipeline/support.js';
import { crowd, second, stubborn, together } from './faulty.js';
import { idle, outcome, run, start } from './support.js';

void t.test('it fails after three deaths, with stage and reason, and its neighbours are answered', async (t) => {
  for (const act of ['exit', 'reject']) {
    const { pipeline } = await start(t, crowd);
    const poison = run(pipeline, { act });
    const others = Array.from({ length: 20 }, () => run(pipeline, { act: 'wait', ms: 20 }));
    const error = (await within('the failure', poison, 30_000)) as RdmaError;
    t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', stage: 'act' }, act);
    t.match(error.message, act === 'exit' ? /3 of 3 times.*exit code 3/ : /3 of 3 times.*nobody waits for this/);
    t.same(await within('the others', Promise.all(others), 30_000), Array(20).fill('ok'));
    const { restarts } = pipeline;
    // One more when it ran beside others the first time: then nobody is blamed yet.
    t.ok(restarts.length >= 3 && restarts.length <= 4, `${restarts.length} deaths`);
    t.match(restarts.at(-1), { reason: /^poison: / });
    t.equal(restarts.at(-1)?.failed.length, 1);
    t.match((await pipeline.status()).supervision['act/0'], { state: 'ready', poisons: 1, restarts: restarts.length });
    t.equal(await within('a later one', run(pipeline, {}), 10_000), 'ok');
    await idle(pipeline);
    await within('the close', pipeline.close());
  }
});

void t.test('beside others that run when it ends the process, only the guilty one fails', async (t) => {
  const { pipeline } = await start(t, crowd);
  const all = [
    { act: 'wait', ms: 400 },
    { act: 'exit-later', ms: 100 },
    { act: 'wait', ms: 400 },
    { act: 'exit-later', ms: 150 },
  ].map((meta) => run(pipeline, meta));
  const outcomes = await within('all', Promise.all(all), 60_000);
  t.match(outcomes, ['ok', { code: 'RDMA_ERR_STAGE_FAILED' }, 'ok', { code: 'RDMA_ERR_STAGE_FAILED' }]);
  await idle(pipeline);
});

void t.test('of the tasks of a batch only the guilty one fails', async (t) => {
  const { pipeline } = await start(t, together);
  const all = Array.from({ length: 16 }, (_, i) => run(pipeline, i === 5 ? { act: 'exit' } : {}));
  const outcomes = await within('all', Promise.all(all), 60_000);
  t.match(outcomes[5], { code: 'RDMA_ERR_STAGE_FAILED', stage: 'act', message: /3 of 3 times/ });
  t.same(
    outcomes.filter((outcome) => outcome === 'ok'),
    Array(15).fill('ok'),
  );
  const sizes = Array.from({ length: 4 }, () => pipeline.run({}).then(({ outputs }) => outputs[0]?.meta.size));
  t.same(await within('a batch', Promise.all(sizes)), [4, 4, 4, 4], 'and batches are what they were');
  await idle(pipeline);
});

void t.test('behind another stage, which keeps its input, it is not run once more', async (t) => {
  const { pipeline } = await start(t, second);
  const poison = run(pipeline, { act: 'exit' });
  const others = Array.from({ length: 10 }, () => run(pipeline, {}));
  t.match(await within('the failure', poison, 30_000), { code: 'RDMA_ERR_STAGE_FAILED', stage: 'act' });
  t.same(await within('the others', Promise.all(others), 30_000), Array(10).fill('ok'));
  t.equal(pipeline.restarts.length, 3);
  await idle(pipeline);
  t.equal(pipeline.restarts.length, 3, 'also later');
});

void t.test('one that is aborted, or late, ends no further process', async (t) => {
  const { pipeline } = await start(t, second);
  const control = new AbortController();
  const poison = outcome(pipeline.run({ meta: { act: 'exit' } }, { signal: control.signal }));
  while (pipeline.restarts.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  control.abort();
  t.match(await within('the abort', poison), { code: 'RDMA_ERR_ABORTED' });
  t.equal(await within('another one', run(pipeline, {}), 30_000), 'ok');
  await idle(pipeline);
  const { length } = pipeline.restarts;
  t.ok(length <= 2, `${length} deaths`);
  for (let i = 0; i < 5; i++) t.equal(await within('more', run(pipeline, {}), 10_000), 'ok');
  t.equal(pipeline.restarts.length, length);
});

void t.test('more of them than the place may be replaced for: each fails, and the pipeline goes on', async (t) => {
  const { pipeline } = await start(t, stubborn, { maxRestarts: 2 });
  let innocent = 0;
  for (let round = 0; round < 3; round++) {
    const poisons = Array.from({ length: 2 }, () => run(pipeline, { act: 'exit' }));
    const others = Array.from({ length: 6 }, () => run(pipeline, { act: 'wait', ms: 5 }));
    t.match(await within('the failures', Promise.all(poisons), 60_000), [
      { code: 'RDMA_ERR_STAGE_FAILED' },
      { code: 'RDMA_ERR_STAGE_FAILED' },
    ]);
    for (const other of await within('the others', Promise.all(others), 60_000)) innocent += other === 'ok' ? 1 : 0;
  }
  t.equal(innocent, 18);
  t.ok(pipeline.restarts.length >= 18, `${pipeline.restarts.length} deaths`);
  const { supervision } = await pipeline.status();
  t.match(supervision, { 'act/0': { state: 'ready' }, 'act/1': { state: 'ready' } });
  await idle(pipeline);
});

void t.test('an error that says it is retryable is tried again, up to the attempts; others are not', async (t) => {
  const { pipeline } = await start(t, crowd);
  const tried = async (tries: number) => {
    const { outputs } = await within('a result', pipeline.run({ meta: { act: 'retry', tries } }));
    return outputs[0]?.meta.tries;
  };
  t.equal(await tried(0), 1);
  t.equal(await tried(2), 3);
  const error = await within('the failure', run(pipeline, { act: 'retry', tries: 3 }));
  t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', stage: 'act', message: /try again/ });
  t.same(pipeline.restarts, []);
  await idle(pipeline);
});
