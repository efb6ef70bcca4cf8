// Proves what a service of jobs does with runners that refuse and fail, with leases that end, and with deadlines.
import t from 'tap';
import { encodeRequest, encodeResult, memoryStore } from '../../src/ts/jobs/index.js';
import { type PipelineRequest, RdmaError, type RequestOptions } from '../../src/ts/pipeline/index.js';
import { codeOf, until, within } from '../pipeline/support.js';
import { CountingRunner, HeldRunner, numbered, numberOf, resultOf, serve } from './support.js';

const refused = (retryAfterMs: number) => new RdmaError('RDMA_ERR_REJECTED', 'no room', { retryAfterMs });

void t.test('refused before it is stored, and never afterwards', async (t) => {
  const store = memoryStore();
  let room = false;
  let refusals = 0;
  const runner = {
    check: (bytes: number, { priority }: RequestOptions) => {
      t.equal(bytes, 16);
      if (priority === -1) throw refused(70);
    },
    run: async (request: PipelineRequest) => {
      if (room) return resultOf(request);
      refusals++;
      throw refused(1);
    },
  };
  const service = await serve(t, store, runner);
  t.equal(await codeOf(service.submit(numbered(1), { id: 'a', priority: -1 })), 'RDMA_ERR_REJECTED');
  t.equal((await store.usage()).jobs, 0);
  const job = await service.submit(numbered(1), { id: 'a' });
  await until('some refusals', () => refusals > 2);
  t.match(await job.record(), { state: 'running', attempts: 1 }, 'refusals are no attempts');
  const same = await service.submit(numbered(2), { id: 'a', priority: -1 });
  room = true;
  t.equal(
    numberOf(await within('the result', same.result())),
    1,
    'the same id is the same job, whether there is room or not',
  );
});

void t.test('a job fails with the error of its runner, for every reader', async (t) => {
  const runner = {
    run: () =>
      Promise.reject(new RdmaError('RDMA_ERR_STAGE_FAILED', 'stage x failed', { stage: 'x', remedy: 'repair it' })),
  };
  const service = await serve(t, memoryStore(), runner);
  const job = await service.submit(numbered(1));
  for (let i = 0; i < 2; i++) {
    await t.rejects(within('the error', job.result()), {
      code: 'RDMA_ERR_STAGE_FAILED',
      stage: 'x',
      remedy: 'repair it',
    });
  }
  const types: string[] = [];
  for await (const { type } of job.events()) types.push(type);
  t.same(types, ['queued', 'started', 'failed']);
});

void t.test('deadlines hold while a job runs and while it waits', async (t) => {
  const held = new HeldRunner();
  const service = await serve(t, memoryStore(), held, { maxRunning: 1 });
  await service.submit(numbered(1), { id: 'first' });
  const late = await service.submit(numbered(2), { deadlineMs: 30 });
  t.equal(await codeOf(late.result()), 'RDMA_ERR_DEADLINE');
  t.same(held.begun, [1], 'it was not begun');
  t.same(await service.jobs({ state: 'running' }).then((jobs) => jobs.map(({ id }) => id)), ['first']);
});

void t.test('what waits goes by priority, and a cancel ends it where it waits', async (t) => {
  const held = new HeldRunner();
  const service = await serve(t, memoryStore(), held, { maxRunning: 1 });
  for (const [value, priority] of [
    [0, 0],
    [1, 0],
    [2, 5],
    [3, -5],
    [4, 5],
  ] as const) {
    await service.submit(numbered(value), { id: `${value}`, priority });
  }
  await until('the first', () => held.begun.length === 1);
  t.ok(await service.job('4').cancel());
  const types: string[] = [];
  for await (const { type } of service.job('4').events()) types.push(type);
  t.equal(types.at(-1), 'cancelled');
  held.open();
  for (const id of ['0', '1', '2', '3']) await within(id, service.job(id).result());
  t.same(held.begun, [0, 2, 1, 3]);
  t.equal(await codeOf(service.job('none').cancel()), 'RDMA_ERR_NOT_FOUND');
});

void t.test('jobs of an owner that is not heard of are taken over after its lease, and it is fenced', async (t) => {
  const store = memoryStore();
  const gone = store.ownerName();
  await store.beat(gone, 0);
  const job = { id: 'a', tenant: 'default', priority: 0, submittedAtMs: Date.now(), owner: gone };
  const { entry } = await store.accept(job, encodeRequest(numbered(1)));
  await store.begin(entry);
  const beganMs = performance.now();
  const held = new HeldRunner();
  const service = await serve(t, store, held, { leaseMs: 300 });
  await until('the takeover', () => held.begun.length === 1);
  t.ok(performance.now() - beganMs >= 300, 'not before the lease ends');
  t.notOk(await store.settle('a', { state: 'done', ...encodeResult(resultOf(numbered(9))) }, 'late', entry.term));
  t.notOk(await store.beat(gone, 1), 'it learns so when it beats');
  held.open();
  t.equal(numberOf(await within('the result', service.job('a').result())), 1);
  t.match(await service.job('a').record(), { attempts: 2 });
});

void t.test('an owner that beats keeps its jobs, however long they take', async (t) => {
  const store = memoryStore();
  const held = new HeldRunner();
  const first = await serve(t, store, held, { leaseMs: 200 });
  const job = await first.submit(numbered(1));
  const others = new CountingRunner();
  await serve(t, store, others, { leaseMs: 200 });
  await new Promise((resolve) => setTimeout(resolve, 900));
  held.open();
  await within('the result', job.result());
  t.equal(others.runs.size, 0);
});

void t.test('a service that has lost its lease stops its jobs and takes part again', async (t) => {
  const store = memoryStore();
  const held = new HeldRunner();
  const warnings: string[] = [];
  const service = await serve(t, store, held, { leaseMs: 200, onWarning: ({ code }) => void warnings.push(code) });
  const job = await service.submit(numbered(1));
  await until('the start', () => held.begun.length === 1);
  const [owner] = await store.owners();
  t.ok(await store.endOwner(owner!));
  await until('the second start', () => held.begun.length === 2);
  t.same(held.aborted, [1]);
  t.ok(warnings.includes('RDMA_ERR_FENCED'));
  held.open();
  t.equal(numberOf(await within('the result', job.result())), 1);
  t.match(await job.record(), { attempts: 2, state: 'done' });
});

void t.test('a job that was begun too often fails', async (t) => {
  const store = memoryStore();
  const owner = store.ownerName();
  await store.beat(owner, 0);
  const job = { id: 'a', tenant: 'default', priority: 0, submittedAtMs: Date.now(), owner };
  let { entry } = await store.accept(job, encodeRequest(numbered(1)));
  for (let i = 0; i < 2; i++) entry = (await store.begin(entry))!;
  await store.endOwner({ id: owner, beat: 1 });
  const runner = new CountingRunner();
  const service = await serve(t, store, runner, { maxAttempts: 2 });
  t.equal(await codeOf(service.job('a').result()), 'RDMA_ERR_STAGE_FAILED');
  t.equal(runner.runs.size, 0);
});

void t.test('bad options are refused', async (t) => {
  const service = await serve(t, memoryStore(), new CountingRunner());
  for (const options of [
    { id: '' },
    { id: 'a/b' },
    { id: 'x'.repeat(129) },
    { tenant: '' },
    { priority: 101 },
    { deadlineMs: 0 },
    { cost: { class: 'A' } },
    { trace: { traceparent: 'x' } },
  ]) {
    t.equal(await codeOf(service.submit(numbered(1), options)), 'RDMA_ERR_INVALID_ARGUMENT', JSON.stringify(options));
  }
  t.equal(await codeOf(service.submit({ parts: { x: 1 as never } })), 'RDMA_ERR_INVALID_ARGUMENT');
  t.equal((await service.jobs()).length, 0);
});

void t.test('what waits before the stages goes back to the store at a pause, and that is no attempt', async (t) => {
  const store = memoryStore();
  const held = new HeldRunner();
  held.tellsTasks = false;
  const service = await serve(t, store, held);
  const job = await service.submit(numbered(1), { id: 'a' });
  await until('the start', () => held.begun.length === 1);
  await within('the pause', service.pause());
  t.same(held.aborted, [1]);
  t.match(await store.get('a'), { state: 'queued', owner: '', attempts: 0 });
  t.equal((await job.record()).state, 'queued');
  held.open();
  await service.resume();
  t.equal(numberOf(await within('the result', job.result())), 1);
  t.match(await job.record(), { attempts: 1 });
});

void t.test('a service that closes waits for what it asks the store meanwhile, and does not join again', async (t) => {
  const store = memoryStore();
  let letGo: (() => void) | undefined;
  const { beat } = store;
  store.beat = async (owner, expected) => {
    if (expected === 0) return beat.call(store, owner, expected);
    await new Promise<void>((resolve) => {
      letGo = resolve;
    });
    return false; // its lease has ended
  };
  const service = await serve(t, store, new CountingRunner(), { leaseMs: 100 });
  await until('a beat', () => letGo !== undefined);
  let closed = false;
  const closing = service.close().then(() => {
    closed = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.notOk(closed, 'the store has not answered');
  letGo!();
  await within('the close', closing);
  t.strictSame(await store.owners(), [], 'nobody is left in the store');
});

void t.test('a job that every service gives back in time is never begun too often', async (t) => {
  const store = memoryStore();
  for (let i = 0; i < 5; i++) {
    const held = new HeldRunner();
    const service = await serve(t, store, held, { maxAttempts: 2 });
    if (i === 0) await service.submit(numbered(1), { id: 'a' });
    await until('the start', () => held.begun.length === 1);
    await service.close();
  }
  const last = await serve(t, store, new CountingRunner(), { maxAttempts: 2 });
  t.equal(numberOf(await within('the result', last.job('a').result())), 1);
});
