// Proves that a pipeline does jobs: submitted, found by id, cancelled, and told of.
import t from 'tap';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { type JobStorage, memoryStore } from '../../src/ts/jobs/index.js';
import { codeOf, within } from '../pipeline/support.js';
import { diamond, diamondRequest, obedient } from '../pipeline/workflows.js';
import { outcome, start } from './support.js';

void t.test('a job has the result that run() has, and the same id is the same job', async (t) => {
  const { pipeline } = await start(t, diamond);
  const { request, result } = diamondRequest(7);
  const job = await within('the submit', pipeline.submit(request, { id: 'seven', tenant: 'me', priority: 3 }));
  const again = await within('the submit', pipeline.submit(diamondRequest(8).request, { id: 'seven' }));
  t.equal(again.id, 'seven');
  for (const one of [job, again]) t.same((await within('a result', one.result())).outputs[0]?.meta, result);
  t.match(await job.record(), { state: 'done', tenant: 'me', priority: 3, attempts: 1, requestBytes: 512 });
  t.same(
    (await pipeline.jobs()).map(({ id }) => id),
    ['seven'],
  );
  t.same((await within('a result', (await pipeline.job('seven')).result())).outputs[0]?.meta, result);
  t.equal(await codeOf(pipeline.job('none')), 'RDMA_ERR_NOT_FOUND');
  t.equal(await codeOf(pipeline.submit(request, { id: 'a b' })), 'RDMA_ERR_INVALID_ARGUMENT');
  t.equal(await codeOf(pipeline.submit({ meta: { x: Number.NaN } })), 'RDMA_ERR_INVALID_ARGUMENT');
});

void t.test('events are numbered and end with the outcome', async (t) => {
  const { pipeline } = await start(t, diamond);
  const job = await within('the submit', pipeline.submit(diamondRequest(1).request));
  const types: string[] = [];
  const numbers: number[] = [];
  const follow = async () => {
    for await (const { type, number } of job.events()) {
      types.push(type);
      numbers.push(number);
    }
  };
  await within('the events', follow());
  t.equal(types[0], 'queued');
  t.equal(types[1], 'started');
  t.equal(types.at(-1), 'done');
  t.equal(types.filter((type) => type === 'task').length, 4, 'of each task: one of scale, two shards, one of total');
  t.equal(types.filter((type) => type === 'task-done').length, 4);
  t.same(
    numbers,
    [...numbers].sort((a, b) => a - b),
  );
  const last: number[] = [];
  for await (const { number } of job.events({ after: numbers.at(-2)! })) last.push(number);
  t.same(last, [numbers.at(-1)]);
});

void t.test('a cancelled job stops in its stage, and has one outcome', async (t) => {
  const { pipeline } = await start(t, obedient);
  const job = await within('the submit', pipeline.submit({ meta: { act: 'wait' } }));
  await within(
    'its start',
    (async () => {
      for await (const { type } of job.events()) if (type === 'started') return;
    })(),
  );
  t.ok(await within('the cancel', job.cancel()));
  t.notOk(await within('the second', job.cancel()));
  t.equal(await codeOf(job.result()), 'RDMA_ERR_CANCELLED');
  t.match(await job.record(), { state: 'cancelled', error: { code: 'RDMA_ERR_CANCELLED' } });
  const next = await within('the submit', pipeline.submit({ meta: { act: 'none' } }));
  t.ok(await within('the next', next.result()));
});

void t.test('a store that is passed outlives the pipeline, and what is unfinished goes on in the next', async (t) => {
  const store = memoryStore();
  t.teardown(() => store.close());
  const first = await start(t, obedient, { store });
  const job = await within('the submit', first.pipeline.submit({ meta: { act: 'wait' } }, { id: 'waits' }));
  const pending = codeOf(job.result());
  await within('the close', first.pipeline.close());
  t.equal(await pending, 'RDMA_ERR_CLOSED');
  t.equal((await store.get('waits'))?.state, 'queued');
  const { pipeline } = await start(t, obedient, { store });
  const found = await pipeline.job('waits');
  t.ok(await within('the cancel', found.cancel()));
  t.equal(await codeOf(found.result()), 'RDMA_ERR_CANCELLED');
  t.equal(await codeOf(start(t, obedient, { store: {} as never })), 'RDMA_ERR_INVALID_ARGUMENT');
});

void t.test('any object with the methods of a store is one, and what it lacks is named', async (t) => {
  const inner = memoryStore();
  t.teardown(() => inner.close());
  const calls: string[] = [];
  // Of no class of ours: an object that hands on every call, and writes it down.
  const own: Record<string, unknown> = { isDurable: false, port: inner.port };
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(inner))) {
    const method = (inner as unknown as Record<string, unknown>)[name];
    if (name === 'constructor' || typeof method !== 'function') continue;
    own[name] = (...given: unknown[]) => {
      calls.push(name);
      return method.apply(inner, given);
    };
  }
  const { pipeline } = await start(t, diamond, { store: own as unknown as JobStorage });
  const { request, result } = diamondRequest(3);
  const job = await within('the submit', pipeline.submit(request, { id: 'three' }));
  t.same((await within('a result', job.result())).outputs[0]?.meta, result);
  for (const name of ['accept', 'begin', 'settle', 'wait', 'result']) t.ok(calls.includes(name), name);
  t.equal((await inner.get('three'))?.state, 'done');

  for (const name of ['settle', 'isDurable', 'port']) {
    const { [name]: _, ...rest } = own;
    const error = await outcome(LocalPipeline.start(diamond, { store: rest as unknown as JobStorage }));
    t.match(error, { code: 'RDMA_ERR_INVALID_ARGUMENT', message: new RegExp(`store\\.${name}`) });
  }
});
