// Proves how requests are tried again and given up: errors that are retryable, requests that a supervisor ends or that
// have ended, tasks that run alone or take too long, what a board shows, and places that are broken.
import t from 'tap';
import { type RequestAttempt, RdmaError, type StageHandler, TaskBoard, workflow } from '../../src/ts/pipeline/index.js';
import { codeOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };
const failureOf = (promise: Promise<unknown>): Promise<RdmaError> =>
  within('an answer', promise).then(
    () => Promise.reject(new Error('it did not fail')),
    (error: RdmaError) => error,
  );
const attemptOf = (ticket: number, attempt = 1): RequestAttempt => ({
  gateway: 0,
  gatewayRun: 1000,
  ticket,
  attempt,
});

/** Fails as often as a request says, with an error that is retryable or not. */
function failing(): { handler: StageHandler; runs: Map<string, number> } {
  const runs = new Map<string, number>();
  const handler: StageHandler = (task) => {
    const { times, retryable, input } = { input: 'request', ...task.input('request').meta } as never as {
      times: number;
      retryable: unknown;
      input: string;
    };
    const count = (runs.get(task.request) ?? 0) + 1;
    runs.set(task.request, count);
    if (count <= times) throw Object.assign(new Error(`no. ${count}`), { retryable });
    return { meta: { count, input } };
  };
  return { handler, runs };
}

void t.test('a retryable error is tried again up to the attempts of its stage, and no other is', async (t) => {
  const { handler, runs } = failing();
  const graph = workflow('retry', here).stage('a', { attempts: 4, handler });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const run = (times: number, retryable: unknown) =>
    pipeline.gateway.run({ meta: { times, retryable: retryable as never } });
  t.equal((await within('a result', run(3, true))).outputs[0]?.meta.count, 4);
  const error = await failureOf(run(4, true));
  t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', stage: 'a', message: /stage a failed: no. 4/ });
  for (const other of [false, 'true', 1, null]) t.match(await failureOf(run(1, other)), { message: /no. 1/ });
  t.same([...runs.values()], [4, 4, 1, 1, 1, 1]);
  await pipeline.idle();
});

void t.test(
  'of a request that is tried again all places start over, and its result is of the last attempt',
  async (t) => {
    const { handler } = failing();
    const seen: number[] = [];
    const graph = workflow('retry-graph', here)
      .stage('first', { handler: (task) => ({ meta: task.input('request').meta }) })
      .stage('bad', { handler })
      .stage('both', {
        after: ['first', 'bad'],
        handler: (task) => {
          seen.push(task.input('bad').meta.count as number);
          return { meta: task.input('bad').meta };
        },
      });
    const pipeline = await Harness.open(graph);
    t.teardown(() => pipeline.close());
    const all = Array.from({ length: 40 }, (_, i) =>
      pipeline.gateway.run({ meta: { times: i % 3, retryable: true } }).then((result) => result.outputs[0]?.meta.count),
    );
    t.same(
      await within('the results', Promise.all(all)),
      all.map((_, i) => (i % 3) + 1),
    );
    t.equal(seen.length, 40, 'the last stage ran once for each');
    await pipeline.idle();
  },
);

void t.test('a supervisor counts tries and ends a request, and nothing of one that has ended', async (t) => {
  const held = gate();
  const reasons: unknown[] = [];
  const graph = workflow('fail', here)
    .stage('a', { handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('b', {
      after: ['a'],
      concurrency: 2,
      handler: async (task) => {
        task.signal.addEventListener('abort', () => reasons.push(task.signal.reason));
        await held.opened;
        return {};
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const bad = failureOf(gateway.run({}));
  const good = codeOf(gateway.run({}));
  await until('the tasks', () => pipeline.count('b/0', 'task') === 2);
  t.ok(gateway.isUnderWay(attemptOf(1)));
  for (const other of [
    attemptOf(1, 2),
    attemptOf(3),
    { ...attemptOf(1), gatewayRun: 7 },
    { ...attemptOf(1), gateway: 1 },
  ]) {
    t.notOk(gateway.isUnderWay(other));
    t.equal(gateway.countTry(other), 0);
    gateway.failRequest(other, new RdmaError('RDMA_ERR_STAGE_FAILED', 'not this one'));
  }
  t.equal(gateway.countTry(attemptOf(1)), 1);
  t.equal(gateway.countTry(attemptOf(1)), 2);
  gateway.failRequest(attemptOf(1), new RdmaError('RDMA_ERR_STAGE_FAILED', 'its process ended', { stage: 'b' }));
  t.match(await within('the end', bad), { code: 'RDMA_ERR_STAGE_FAILED', stage: 'b', message: /its process ended/ });
  t.notOk(gateway.isUnderWay(attemptOf(1)));
  await until('the signal', () => reasons.length === 1);
  held.open();
  t.equal(await good, 'ok');
  await pipeline.idle();
});

void t.test('an instance that knows which requests have ended does not run them when they come again', async (t) => {
  const held = gate();
  const ran: unknown[] = [];
  const graph = workflow('barred', here)
    .stage('a', { handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('b', {
      after: ['a'],
      concurrency: 4,
      handler: async (task) => {
        ran.push(task.input('a').meta.n);
        await held.opened;
        return {};
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const bad = failureOf(gateway.run({ meta: { n: 1 } }));
  const good = codeOf(gateway.run({ meta: { n: 2 } }));
  await until('the tasks', () => ran.length === 2);
  // The process at b ends, and with it all that it knows; `a` sends both again.
  await pipeline.remove('b/0');
  gateway.failRequest(attemptOf(1), new RdmaError('RDMA_ERR_STAGE_FAILED', 'poison'));
  pipeline.extra = { barred: [attemptOf(1)] };
  await pipeline.replace('b/0');
  t.match(await bad, { message: /poison/ });
  held.open();
  t.equal(await within('the other', good), 'ok');
  await pipeline.idle();
  t.same(ran, [1, 2, 2]);
});

void t.test('a suspect runs alone, also when it becomes one while it waits', async (t) => {
  const gates = [1, 2, 3, 4].map(() => gate());
  const running = new Set<number>();
  const together: number[][] = [];
  const graph = workflow('suspect', here).stage('a', {
    concurrency: 4,
    handler: async (task) => {
      const n = task.input('request').meta.n as number;
      running.add(n);
      together.push([...running]);
      await gates[n - 1]!.opened;
      running.delete(n);
      return {};
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const first = codeOf(pipeline.gateway.run({ meta: { n: 1 } }));
  await until('the first', () => running.size === 1);
  pipeline.stages.get('a/0')!.setSuspects([attemptOf(2)]);
  const others = [2, 3, 4].map((n) => codeOf(pipeline.gateway.run({ meta: { n } })));
  await pipeline.still();
  t.same([...running], [1], 'it waits, and so do those behind it');
  gates[0]!.open();
  await until('the suspect', () => running.has(2));
  await pipeline.still();
  t.same([...running], [2]);
  gates[1]!.open();
  await until('the others', () => running.size === 2);
  for (const { open } of gates) open();
  t.same(await Promise.all([first, ...others]), ['ok', 'ok', 'ok', 'ok']);
  t.same(together, [[1], [2], [3], [3, 4]]);
});

void t.test('a board shows what runs, and nothing that has ended, however it ended', async (t) => {
  const held = gate();
  const graph = workflow('board', here).stage('a', {
    concurrency: 2,
    handler: async (task) => {
      if (task.input('request').meta.fails === true) throw new Error('it fails');
      await held.opened;
      return {};
    },
  });
  const buffer = new ArrayBuffer(TaskBoard.bytesFor(2));
  const reader = new TaskBoard(buffer);
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  pipeline.extra = { board: new TaskBoard(buffer) };
  await pipeline.replace('a/0');
  const two = [codeOf(pipeline.gateway.run({})), codeOf(pipeline.gateway.run({}))];
  await until('two tasks', () => reader.read().length === 2);
  t.match(
    reader.read().sort((a, b) => a.ticket - b.ticket),
    [attemptOf(1), attemptOf(2)],
  );
  held.open();
  t.same(await Promise.all(two), ['ok', 'ok']);
  t.same(reader.read(), []);
  for (let i = 0; i < 5; i++)
    t.equal(await codeOf(pipeline.gateway.run({ meta: { fails: true } })), 'RDMA_ERR_STAGE_FAILED');
  t.same(reader.read(), []);
});

void t.test('a task that takes too long has its signal fired, with stage and limit', async (t) => {
  const reasons: unknown[] = [];
  const graph = workflow('limit', here).stage('slow', {
    taskTimeoutMs: 30,
    handler: (task) =>
      new Promise((resolve, reject) => {
        if (task.input('request').meta.quick === true) resolve({});
        task.signal.addEventListener('abort', () => {
          reasons.push(task.signal.reason);
          reject(new Error('whatever'));
        });
      }),
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  t.match(await within('the failure', failureOf(pipeline.gateway.run({}))), {
    code: 'RDMA_ERR_STAGE_FAILED',
    stage: 'slow',
    message: /longer than 30 ms \(taskTimeoutMs\) in stage slow/,
  });
  t.match(reasons, [{ code: 'RDMA_ERR_TIMEOUT', stage: 'slow' }]);
  t.equal(await codeOf(pipeline.gateway.run({ meta: { quick: true } })), 'ok');
  await new Promise((resolve) => setTimeout(resolve, 60));
  t.equal(reasons.length, 1, 'one that has ended is left alone');
  await pipeline.idle();
});

void t.test(
  'what sits at a broken instance goes to another one, or fails with the reason where there is none',
  async (t) => {
    const held = gate();
    const ran: number[] = [];
    const graph = workflow('broken', here)
      .stage('a', {
        instances: 2,
        concurrency: 4,
        handler: async (task) => {
          ran.push(task.instance);
          if (task.instance === 0) await held.opened;
          return { meta: { instance: task.instance } };
        },
      })
      .stage('b', { after: ['a'], handler: (task) => ({ meta: task.input('a').meta }) });
    const pipeline = await Harness.open(graph);
    t.teardown(() => pipeline.close());
    const { gateway } = pipeline;
    const all = Array.from({ length: 8 }, () => gateway.run({}).then((result) => result.outputs[0]?.meta.instance));
    await until('some at the first', () => ran.includes(0));
    const reason = new RdmaError('RDMA_ERR_STAGE_FAILED', 'no model', { stage: 'a', retryAfterMs: 1000 });
    const broken = (instance: number) => {
      gateway.setAvailability({ stage: 0, instance }, { state: 'broken', reason, retryInMs: 1000 });
      gateway.abandon({ stage: 0, instance }, reason);
    };
    broken(0);
    t.same(await within('the results', Promise.all(all)), Array(8).fill(1), 'all of the other one');
    held.open();
    gateway.setAvailability({ stage: 0, instance: 0 }, { state: 'ready' });
    const both = gate();
    const waiting = workflow('both', here).stage('a', { handler: () => both.opened.then(() => ({})) });
    const second = await Harness.open(waiting);
    t.teardown(() => second.close());
    const left = [
      failureOf(second.gateway.run({})),
      failureOf(second.gateway.run({})),
      failureOf(second.gateway.run({})),
    ];
    await until('its start', () => second.count('a/0', 'task') === 1);
    second.gateway.setAvailability({ stage: 0, instance: 0 }, { state: 'broken', reason, retryInMs: 1000 });
    second.gateway.abandon({ stage: 0, instance: 0 }, reason);
    for (const error of await within('the ends', Promise.all(left))) {
      t.match(error, { stage: 'a', retryAfterMs: 1000, message: /no model/ });
    }
    t.match(await failureOf(second.gateway.run({})), { code: 'RDMA_ERR_REJECTED', retryAfterMs: 1000 });
    both.open();
    second.gateway.setAvailability({ stage: 0, instance: 0 }, { state: 'ready' });
    t.equal(await codeOf(second.gateway.run({})), 'ok');
    await second.idle();
    await pipeline.idle();
  },
);
