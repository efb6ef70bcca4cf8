// What every store of jobs must do. Run over each of them.
//
// Invariant: nothing here knows which store it is.
import type { Test } from 'tap';
import { encodeRequest, encodeResult, type JobEntry, type JobStore, type NewJob } from '../../src/ts/jobs/index.js';
import type { JobStoreOptions, JobStorePort } from '../../src/ts/jobs/store.js';
import { systemJobPort } from '../../src/ts/jobs/store.js';
import { RdmaError, tensor } from '../../src/ts/pipeline/index.js';
import { codeOf, within } from '../pipeline/support.js';
import { CountingRunner, HeldRunner, numbered, resultOf, serve, numberOf } from './support.js';

/** A kind of store: opened empty, and opened again with what is in it. */
export interface StoreKind {
  /** A new store without jobs; closed with the test. */
  open(t: Test, options?: JobStoreOptions, port?: JobStorePort): Promise<JobStore>;
  /** One more store on the same jobs, as another process would open it; undefined: there is no such thing. */
  again: ((t: Test, store: JobStore, options?: JobStoreOptions) => Promise<JobStore>) | undefined;
}

const failed = (words: string) => ({
  state: 'failed' as const,
  error: new RdmaError('RDMA_ERR_STAGE_FAILED', words).toJSON(),
});

async function owner(store: JobStore): Promise<string> {
  const name = store.ownerName();
  if (!(await store.beat(name, 0))) throw new Error('a new owner could not beat');
  return name;
}

function newJob(id: string, owned: string, more: Partial<NewJob> = {}): NewJob {
  return { id, tenant: 'default', priority: 0, submittedAtMs: Date.now(), owner: owned, ...more };
}

const done = (value: number, length?: number) => {
  return { state: 'done' as const, ...encodeResult(resultOf(numbered(value, length))) };
};

export function conformance(t: Test, kind: StoreKind): void {
  void t.test('a job is accepted once, however often it is submitted', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    const request = encodeRequest(numbered(1));
    const all = await Promise.all([1, 2, 3, 4].map(() => store.accept(newJob('a', me), request)));
    t.equal(all.filter(({ isNew }) => isNew).length, 1);
    t.match(await store.get('a'), { id: 'a', state: 'queued', attempts: 0, term: 1, requestBytes: 16 });
    t.equal((await store.usage()).jobs, 1);
    t.equal((await store.usage()).bytes, request.bytes.length, 'the three others left nothing');
    t.same(await store.request((await store.get('a'))!), Buffer.from(request.bytes));
  });

  void t.test('an id with another fingerprint is refused, also of many at once', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    const request = encodeRequest(numbered(1));
    const accept = (id: string, fingerprint?: string) =>
      codeOf(store.accept(newJob(id, me, fingerprint === undefined ? {} : { fingerprint }), request));
    const codes = await Promise.all(['x', 'y', 'z'].map((fingerprint) => accept('a', fingerprint)));
    t.same([...codes].sort(), ['RDMA_ERR_CONFLICT', 'RDMA_ERR_CONFLICT', 'ok']);
    const first = ['x', 'y', 'z'][codes.indexOf('ok')]!;
    t.equal((await store.get('a'))?.fingerprint, first);
    t.equal(await accept('a', first), 'ok');
    t.equal(await accept('a'), 'ok', 'whoever gives none asks for the job of this id');
    t.equal((await store.usage()).bytes, request.bytes.length, 'what was refused left nothing');
    await store.settle('a', done(1), 'x');
    t.equal(await accept('a', 'w'), 'RDMA_ERR_CONFLICT', 'also once it has ended');
    await store.forget('a');
    t.equal(await accept('a', 'w'), 'ok');
    t.equal(await accept('none'), 'ok');
    t.equal(await accept('none', 'x'), 'ok', 'a job without one is of any request');
  });

  void t.test('a service that is paused begins nothing, and another one does what it has not begun', async (t) => {
    const store = await kind.open(t);
    const held = new HeldRunner();
    const first = await serve(t, store, held, { maxRunning: 1 });
    const jobs = [];
    for (let i = 0; i < 4; i++) jobs.push(await first.submit(numbered(i), { id: `j${i}`, fingerprint: 'f' }));
    for (let i = 0; i < 2000 && held.begun.length === 0; i++) await new Promise((next) => setTimeout(next, 5));
    let isOver = false;
    const paused = first.pause().then(() => {
      isOver = true;
    });
    t.equal(await codeOf(first.submit(numbered(9), { id: 'late' })), 'RDMA_ERR_CLOSED');
    t.equal(await codeOf(first.submit(numbered(9), { id: 'j3', fingerprint: 'f' })), 'ok', 'it was accepted before');
    t.equal(await codeOf(first.submit(numbered(9), { id: 'j3', fingerprint: 'g' })), 'RDMA_ERR_CONFLICT');
    const runner = new CountingRunner();
    await serve(t, store, runner);
    for (const i of [1, 2, 3]) t.equal(numberOf(await within('a result', jobs[i]!.result())), i);
    t.notOk(isOver, 'one runs');
    t.equal((await jobs[0]!.record()).state, 'running');
    held.open();
    await within('the pause', paused);
    t.equal(numberOf(await within('the result', jobs[0]!.result())), 0);
    t.same(held.begun, [0]);
    t.same([...runner.runs.keys()].sort(), [1, 2, 3]);
    t.equal(await store.get('late'), undefined, 'nothing of it was stored');
  });

  void t.test('a service that is resumed does what has waited', async (t) => {
    const store = await kind.open(t);
    const runner = new CountingRunner();
    const service = await serve(t, store, runner);
    const me = await owner(store);
    await within('the pause', service.pause());
    const { entry } = await store.accept(newJob('a', me), encodeRequest(numbered(1)));
    await store.release(entry);
    await service.resume();
    t.equal(numberOf(await within('the result', service.job('a').result())), 1);
    t.equal(numberOf(await within('the result', (await service.submit(numbered(2))).result())), 2);
  });

  void t.test('ids may be all that an id may be', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    for (const id of ['..', '.', ':', '-', '_', 'A.b:c-d_0', 'x'.repeat(128)]) {
      await store.accept(newJob(id, me), encodeRequest(numbered(1)));
      t.ok(await store.settle(id, done(1), 'x', 1));
      t.ok(await store.result((await store.get(id))!), id);
    }
    t.equal((await store.list()).length, 7);
  });

  void t.test('only who has a lease may accept and claim', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    const { entry } = await store.accept(newJob('a', me), encodeRequest(numbered(1)));
    t.equal(await codeOf(store.accept(newJob('b', 'nobody'), encodeRequest(numbered(1)))), 'RDMA_ERR_FENCED');
    t.equal(await store.get('b'), undefined);
    t.equal(await store.claim(entry, 'nobody'), undefined);
    t.equal((await store.get('a'))?.term, 1);
  });

  void t.test('the first who settles has settled, of many at once', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    await store.accept(newJob('a', me), encodeRequest(numbered(1)));
    const settles = [0, 1, 2, 3, 4, 5].map((i) => store.settle('a', i % 2 ? done(i) : failed(`${i}`), `by ${i}`));
    const answers = await Promise.all(settles);
    t.equal(answers.filter(Boolean).length, 1);
    const winner = answers.indexOf(true);
    const entry = (await store.get('a'))!;
    t.equal(entry.state, winner % 2 ? 'done' : 'failed');
    t.ok(await store.settle('a', failed('again'), `by ${winner}`), 'the same one again is the same answer');
    t.same(await store.get('a'), entry);
    const { bytes } = await store.usage();
    t.equal(bytes, entry.result?.bytes ?? 0, 'what lost and the request are gone');
  });

  void t.test('a newer term makes what an older one says void', async (t) => {
    const store = await kind.open(t);
    const [first, second] = [await owner(store), await owner(store)];
    const { entry } = await store.accept(newJob('a', first), encodeRequest(numbered(1)));
    const begun = (await store.begin(entry))!;
    t.match(begun, { state: 'running', attempts: 1 });
    const claims = await Promise.all([
      store.claim(begun, second),
      store.claim(begun, second),
      store.claim(begun, first),
    ]);
    const claimed = (await store.get('a'))!;
    t.equal(claimed.term, 2, 'one of them took it');
    t.ok(claims.some((claim) => claim?.owner === claimed.owner));
    t.notOk(await store.settle('a', done(1), 'late', 1));
    t.equal(await store.begin(entry), undefined);
    t.match(await store.begin(claimed), { attempts: 2 });
    t.ok(await store.settle('a', done(1), 'in time', 2));
    t.equal(await store.claim(claimed, first), undefined, 'it has ended');
  });

  void t.test('what is read stays, and belongs to its reader', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    await store.accept(newJob('a', me), encodeRequest(numbered(1)));
    await store.settle('a', done(7), 'x');
    const entry = await store.wait('a');
    const first = (await store.result(entry))!;
    const copy = Buffer.from(first);
    first.fill(0);
    for (let i = 0; i < 2; i++) t.same(await store.result(entry), copy);
  });

  void t.test('values of all sizes come back as they were', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    for (const length of [0, 1, 1000, 16_384, 300_000, 5_000_000]) {
      const id = `of-${length}`;
      const request = encodeRequest(numbered(3, length));
      const { entry } = await store.accept(newJob(id, me), request);
      t.ok(Buffer.from((await store.request(entry))!).equals(request.bytes), `request of ${length}`);
      const outcome = done(length, length);
      await store.settle(id, outcome, 'x');
      t.ok(Buffer.from((await store.result(await store.wait(id)))!).equals(outcome.bytes), `result of ${length}`);
      t.equal((await store.get(id))?.resultBytes, 4 * length);
    }
    for (const { id } of await store.list()) await store.forget(id);
    t.same(await store.usage().then(({ jobs, bytes }) => ({ jobs, bytes })), { jobs: 0, bytes: 0 });
  });

  void t.test('who waits is woken by the outcome, by a removal, and by the close', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    for (const id of ['a', 'b']) await store.accept(newJob(id, me), encodeRequest(numbered(1)));
    const waits = [1, 2, 3].map(() => store.wait('a'));
    const { signal } = new AbortController();
    const aborted = store.wait('a', AbortSignal.timeout(20));
    t.equal(await codeOf(aborted), 'RDMA_ERR_ABORTED');
    await store.settle('a', done(1), 'x');
    for (const entry of await within('the waits', Promise.all(waits))) t.equal(entry.state, 'done');
    t.equal(await codeOf(store.wait('nothing', signal)), 'RDMA_ERR_NOT_FOUND');
    const closed = codeOf(store.wait('b'));
    await store.close();
    t.equal(await closed, 'RDMA_ERR_CLOSED');
  });

  void t.test('new work is refused when there is no room, results never', async (t) => {
    const request = encodeRequest(numbered(1, 1000));
    const { length } = request.bytes;
    const store = await kind.open(t, { maxBytes: 3 * length });
    const me = await owner(store);
    const tries = [0, 1, 2, 3, 4, 5].map((i) => codeOf(store.accept(newJob(`${i}`, me), request)));
    const answers = await Promise.all(tries);
    t.equal(answers.filter((code) => code === 'ok').length, 3, 'also of many at once');
    t.equal(answers.filter((code) => code === 'RDMA_ERR_STORE_FULL').length, 3);
    const ids = (await store.list()).map(({ id }) => id);
    for (const id of ids) t.ok(await store.settle(id, done(1, 2000), 'x'), 'a result needs more room than there is');
    t.ok((await store.usage()).bytes > 3 * length);
    t.equal(await codeOf(store.accept(newJob('more', me), request)), 'RDMA_ERR_STORE_FULL');
    for (const id of ids) {
      t.ok(await store.result((await store.get(id))!), 'unread results stay');
      t.ok(await store.forget(id));
    }
    t.equal(await codeOf(store.accept(newJob('more', me), request)), 'ok');
  });

  void t.test('outcomes expire, and jobs without one do not', async (t) => {
    let nowMs = Date.now();
    const store = await kind.open(t, { ttlMs: 1000 }, { ...systemJobPort, wallMs: () => nowMs });
    const me = await owner(store);
    for (const id of ['a', 'b', 'open']) await store.accept(newJob(id, me), encodeRequest(numbered(1)));
    await store.settle('a', done(1), 'x');
    nowMs += 600;
    await store.settle('b', failed('b'), 'x');
    nowMs += 600;
    t.equal(await store.get('a'), undefined, 'before the sweep too');
    t.same(new Set((await store.list()).map(({ id }) => id)), new Set(['b', 'open']));
    t.equal(await store.sweep(), 1);
    t.equal((await store.usage()).jobs, 2);
    nowMs += 600;
    const { isNew } = await store.accept(newJob('b', me), encodeRequest(numbered(2)));
    t.ok(isNew, 'an id that has expired is free');
    nowMs += 10_000_000;
    t.equal(await store.sweep(), 0);
    t.equal((await store.usage()).jobs, 2);
  });

  void t.test('a job is listed by state and tenant, the newest first, and removed once it has ended', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    for (let i = 0; i < 6; i++) {
      const more = { tenant: i % 2 ? 'odd' : 'even', submittedAtMs: 1000 + i };
      await store.accept(newJob(`${i}`, me, more), encodeRequest(numbered(i)));
    }
    const ids = (entries: JobEntry[]) => entries.map(({ id }) => id).join();
    t.equal(ids(await store.list()), '5,4,3,2,1,0');
    t.equal(ids(await store.list({ limit: 2 })), '5,4');
    t.equal(ids(await store.list({ tenant: 'odd' })), '5,3,1');
    await store.settle('3', failed('x'), 'x');
    t.equal(ids(await store.list({ tenant: 'odd', state: 'queued' })), '5,1');
    t.equal(ids(await store.list({ state: 'failed' })), '3');
    t.same(new Set((await store.open()).map(({ id }) => id)), new Set(['0', '1', '2', '4', '5']));
    t.equal(await codeOf(store.forget('1')), 'RDMA_ERR_BUSY');
    t.ok(await store.forget('3'));
    t.notOk(await store.forget('3'));
    t.equal(await codeOf(store.list({ limit: 0 })), 'RDMA_ERR_INVALID_ARGUMENT');
  });

  void t.test('a lease is renewed by who has it, and ended once it does not beat', async (t) => {
    const store = await kind.open(t);
    const name = await owner(store);
    t.notOk(await store.beat(name, 0), 'the name is taken');
    t.ok(await store.beat(name, 1));
    t.notOk(await store.beat(name, 1), 'it has beaten since');
    t.notOk(await store.endOwner({ id: name, beat: 1 }));
    t.same(await store.owners(), [{ id: name, beat: 2 }]);
    t.ok(await store.endOwner({ id: name, beat: 2 }));
    t.notOk(await store.beat(name, 2), 'it has ended');
    t.same(await store.owners(), []);
  });

  void t.test('a service does what was submitted, and every reader gets it', async (t) => {
    const service = await serve(t, await kind.open(t), new CountingRunner());
    const jobs = await Promise.all(
      [1, 2, 3, 4, 5].map((value) => service.submit(numbered(value), { id: `n${value}` })),
    );
    for (const [i, job] of jobs.entries()) {
      const [first, second] = await within('results', Promise.all([job.result(), job.result()]));
      t.equal(numberOf(first), i + 1);
      (first.outputs[0]!.parts.y!.data as Float32Array).fill(0);
      t.equal(numberOf(second), i + 1);
      t.match(await job.record(), { state: 'done', attempts: 1, requestBytes: 16, resultBytes: 16 });
    }
  });

  void t.test('a service that is closed leaves its jobs, and the next one does them', async (t) => {
    const store = await kind.open(t);
    const held = new HeldRunner();
    const first = await serve(t, store, held, { maxRunning: 2 });
    for (let i = 0; i < 5; i++) await first.submit(numbered(i), { id: `j${i}`, priority: i });
    const pending = codeOf(first.job('j0').result());
    await within('the close', first.close());
    t.equal(await pending, 'RDMA_ERR_CLOSED');
    t.equal((await store.open()).length, 5);
    const runner = new CountingRunner();
    const second = await serve(t, store, runner);
    for (let i = 0; i < 5; i++) t.equal(numberOf(await within('a result', second.job(`j${i}`).result())), i);
    t.same([...runner.runs.values()], [1, 1, 1, 1, 1]);
  });

  if (kind.again === undefined) return;
  const { again } = kind;

  void t.test('another process sees the same jobs, hears of outcomes, and cancels what runs here', async (t) => {
    const store = await kind.open(t);
    const held = new HeldRunner();
    const service = await serve(t, store, held);
    const other = await again(t, store);
    const job = await service.submit(numbered(1), { id: 'a' });
    await service.submit(numbered(2), { id: 'b' });
    const heard = other.wait('b');
    t.match(await other.get('a'), { id: 'a' });
    const error = new RdmaError('RDMA_ERR_CANCELLED', 'by another process').toJSON();
    t.ok(await other.settle('a', { state: 'cancelled', error }, 'other'));
    t.equal(await codeOf(job.result()), 'RDMA_ERR_CANCELLED');
    for (let i = 0; i < 2000 && !held.aborted.includes(1); i++) await new Promise((next) => setTimeout(next, 5));
    t.same(held.aborted, [1], 'its run was aborted');
    held.open();
    t.equal((await within('the outcome', heard)).state, 'done');
    t.ok(await other.result(await other.wait('b')));
  });

  void t.test('parts of any kind survive', async (t) => {
    const store = await kind.open(t);
    const me = await owner(store);
    const parts = {
      bits: tensor('bool', [3], Uint8Array.of(1, 0, 1)),
      big: tensor('u64', [], BigUint64Array.of(2n ** 63n)),
    };
    const request = encodeRequest({ meta: { text: 'ä' }, parts });
    const { entry } = await store.accept(newJob('a', me), request);
    const other = await again(t, store);
    t.ok(Buffer.from((await other.request(entry))!).equals(request.bytes));
  });
}
