// Proves what stages that take batches make of what their handlers do: full batches of one key, outputs, errors and
// cancels of each task alone, tasks that are taken up and ended while a batch runs, and deadlines that are met.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  type BatchHandler,
  type BatchOptions,
  type BatchOutput,
  type BatchTask,
  type PipelineResult,
  workflow,
} from '../../src/ts/pipeline/index.js';
import { bytes, codeOf, failureOf, gate, Harness, type HarnessOptions, until, within } from './support.js';

const here = { module: __filename };
const numberOf = (task: Pick<BatchTask<'request'>, 'input'>) => Number(task.input('request').meta.n);
const answerOf = (task: BatchTask<'request'>) => ({ meta: { n: numberOf(task) } });
const numbers = (results: readonly PipelineResult[]) => results.map(({ outputs }) => outputs[0]?.meta.n);
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

async function open(
  t: { teardown: (work: () => Promise<void>) => void },
  batch: BatchOptions<'request'>,
  batchHandler: BatchHandler<'request'>,
  options: HarnessOptions & { concurrency?: number } = {},
): Promise<Harness> {
  const { concurrency = 1, ...rest } = options;
  const graph = workflow('batches', here).stage('a', { batch, concurrency, batchHandler });
  const pipeline = await Harness.open(graph, rest);
  t.teardown(() => pipeline.close());
  return pipeline;
}

const runAll = (pipeline: Harness, count: number) =>
  within('all results', Promise.all(upTo(count).map((n) => pipeline.gateway.run({ meta: { n } }))));

void t.test('while a batch runs the next one fills up, and each request gets its own output', async (t) => {
  const sizes: number[] = [];
  const pipeline = await open(t, { size: 8 }, async (tasks) => {
    sizes.push(tasks.length);
    await sleep(10);
    return tasks.map(answerOf);
  });
  t.same(numbers(await runAll(pipeline, 64)), upTo(64));
  t.ok(
    sizes.every((size) => size <= 8),
    `${sizes}`,
  );
  t.ok(sizes.filter((size) => size === 8).length >= 6, `${sizes}`);
  await pipeline.idle();
  const { batches, tasks } = pipeline.stages.get('a/0')!.status();
  t.match(batches, { running: 0, keys: 0, started: sizes.length, tasks: 64 });
  t.equal(tasks, 64);
});

void t.test('a batch waits for company as long as it may, and no longer than until it is full', async (t) => {
  const sizes: number[] = [];
  const pipeline = await open(t, { size: 4, waitMs: 60_000 }, (tasks) => {
    sizes.push(tasks.length);
    return tasks.map(answerOf);
  });
  t.same(numbers(await runAll(pipeline, 4)), upTo(4));
  t.same(sizes, [4], 'full');
  const alone = await open(t, { size: 4, waitMs: 40 }, (tasks) => tasks.map(answerOf));
  const before = performance.now();
  await within('a result', alone.gateway.run({ meta: { n: 1 } }));
  t.ok(performance.now() - before >= 38, 'it waited');
});

void t.test('a task that has a deadline does not wait past its latest start', async (t) => {
  let batchMs = 0;
  const pipeline = await open(t, { size: 8, waitMs: 60_000 }, async (tasks) => {
    await sleep(batchMs);
    return tasks.map(answerOf);
  });
  batchMs = 200;
  // The first batch is full: it shows how long one of this size takes.
  await runAll(pipeline, 8);
  for (const n of [1, 2]) {
    const { outputs } = await within('a result', pipeline.gateway.run({ meta: { n } }, { timeoutMs: 3000 }));
    t.equal(outputs[0]?.meta.n, n);
  }
});

void t.test('only tasks of one key run together, and each key comes to its turn', async (t) => {
  const batches: number[][] = [];
  const pipeline = await open(t, { size: 4, waitMs: 5, key: (task) => numberOf(task) % 3 }, async (tasks) => {
    batches.push(tasks.map(numberOf));
    await sleep(2);
    return tasks.map(answerOf);
  });
  t.same(numbers(await runAll(pipeline, 60)), upTo(60));
  for (const batch of batches) {
    t.ok(batch.length <= 4 && batch.every((n) => n % 3 === batch[0]! % 3), `${batch}`);
    t.same(
      batch,
      batch.toSorted((a, b) => a - b),
    );
  }
  t.ok(batches.length < 40, `${batches.length} batches`);
});

void t.test('a key that throws, or is none, fails its request alone', async (t) => {
  const keys: Record<number, () => unknown> = {
    1: () => {
      throw new Error('no key for this');
    },
    2: () => undefined,
    3: () => ({}),
  };
  const key = (task: Pick<BatchTask<'request'>, 'input'>) =>
    (keys[numberOf(task)]?.() ?? (numberOf(task) === 2 ? undefined : 'a')) as string;
  const pipeline = await open(t, { size: 4, key }, (tasks) => tasks.map(answerOf));
  t.match(await failureOf(pipeline.gateway.run({ meta: { n: 1 } })), { message: /stage a failed: no key for this/ });
  t.match(await failureOf(pipeline.gateway.run({ meta: { n: 2 } })), { message: /must answer a string or a number/ });
  t.match(await failureOf(pipeline.gateway.run({ meta: { n: 3 } })), { message: /must answer a string or a number/ });
  t.equal(await codeOf(pipeline.gateway.run({ meta: { n: 4 } })), 'ok');
  await pipeline.idle();
  t.equal(pipeline.failed('a/0'), 3);
});

void t.test('an error of one task, thrown, returned or promised, is that of its request alone', async (t) => {
  const later = gate();
  const outputs: ((task: BatchTask<'request'>) => BatchOutput)[] = [
    answerOf,
    () => new Error('this one not'),
    () => Promise.reject(new Error('nor this one')),
    async (task) => {
      await later.opened;
      return answerOf(task);
    },
    () => undefined,
    () => 'text' as never,
    () =>
      ({
        // biome-ignore lint/suspicious/noThenProperty: it looks like a promise on purpose
        get then(): never {
          throw new Error('no then');
        },
      }) as never,
    answerOf,
  ];
  const pipeline = await open(t, { size: 8, waitMs: 60_000 }, (tasks) =>
    tasks.map((task) => outputs[numberOf(task)]!(task)),
  );
  const requests = upTo(8).map((n) => pipeline.gateway.run({ meta: { n } }));
  const quick = await Promise.all([1, 2, 4, 5, 6].map((n) => failureOf(requests[n]!)));
  t.match(quick, [
    { code: 'RDMA_ERR_STAGE_FAILED', message: /this one not/ },
    { message: /nor this one/ },
    { message: /answered nothing for this task/ },
    { message: /must return {meta, parts}/ },
    { message: /no then/ },
  ]);
  t.same(numbers(await within('the others', Promise.all([requests[0]!, requests[7]!]))), [0, 7]);
  t.equal(pipeline.stages.get('a/0')!.status().batches?.running, 1, 'the batch keeps its place');
  later.open();
  t.same(numbers([await within('the last', requests[3]!)]), [3]);
  await pipeline.idle();
  t.equal(pipeline.stages.get('a/0')!.status().batches?.running, 0);
});

void t.test('what a handler throws, or answers in another number, fails all tasks that have not ended', async (t) => {
  const deeds: Record<string, (tasks: readonly BatchTask<'request'>[]) => unknown> = {
    throws: () => {
      throw new Error('all of it');
    },
    rejects: () => Promise.reject(),
    'too few': (tasks) => tasks.slice(1).map(answerOf),
    'too many': (tasks) => [...tasks.map(answerOf), {}],
    'no list': () => ({ meta: {} }),
    text: () => 'text',
    nothing: () => undefined,
    hole: () => new Array(2),
  };
  const pipeline = await open(t, { size: 2, waitMs: 60_000 }, (tasks) => {
    tasks[0]!.finish(answerOf(tasks[0]!));
    return deeds[String(tasks[0]!.input('request').meta.deed)]!(tasks) as BatchOutput[];
  });
  for (const deed of Object.keys(deeds)) {
    const requests = upTo(2).map((n) => pipeline.gateway.run({ meta: { n, deed } }));
    const failure = await failureOf(requests[1]!);
    t.match(failure, { code: 'RDMA_ERR_STAGE_FAILED', message: /stage a failed: / }, deed);
    t.same(numbers([await within('the other', requests[0]!)]), [0], `${deed}: what ended before is answered`);
  }
  await pipeline.idle();
  t.same(pipeline.failures, []);
});

void t.test('a task that nobody wants any more is aborted, and the others of its batch go on', async (t) => {
  const begun = gate();
  const stopped: number[] = [];
  const pipeline = await open(t, { size: 3, waitMs: 60_000 }, async (tasks) => {
    for (const task of tasks) {
      task.signal.addEventListener('abort', () => {
        stopped.push(numberOf(task));
        t.equal(task.finish(new Error('stopped')), true);
        t.equal(task.finish({}), false, 'once');
      });
    }
    begun.open();
    await until('an abort', () => stopped.length > 0);
    t.throws(() => tasks[1]!.input('request'), { code: 'RDMA_ERR_CLOSED', message: /its inputs are gone/ });
    return tasks.map((task, i) => (i === 1 ? undefined : answerOf(task)));
  });
  const control = new AbortController();
  const requests = upTo(3).map((n) => pipeline.gateway.run({ meta: { n } }, n === 1 ? { signal: control.signal } : {}));
  await within('the batch', begun.opened);
  control.abort();
  t.equal(await codeOf(requests[1]!), 'RDMA_ERR_ABORTED');
  t.same(numbers(await within('the others', Promise.all([requests[0]!, requests[2]!]))), [0, 2]);
  t.same(stopped, [1]);
  await pipeline.idle();
});

void t.test('a request that ends while its task waits takes no place in a batch', async (t) => {
  const first = gate();
  const batches: number[][] = [];
  const pipeline = await open(t, { size: 2 }, async (tasks) => {
    batches.push(tasks.map(numberOf));
    if (batches.length === 1) await first.opened;
    return tasks.map(answerOf);
  });
  const blocking = pipeline.gateway.run({ meta: { n: 0 } });
  await until('the first batch', () => batches.length === 1);
  const control = new AbortController();
  const given = pipeline.gateway.run({ meta: { n: 1 } }, { signal: control.signal });
  const kept = [2, 3].map((n) => pipeline.gateway.run({ meta: { n } }));
  await until('all to wait', () => pipeline.stages.get('a/0')!.status().ready === 3);
  control.abort();
  t.equal(await codeOf(given), 'RDMA_ERR_ABORTED');
  await until('the place to hear of it', () => pipeline.stages.get('a/0')!.status().open === 3);
  first.open();
  t.same(numbers(await within('the others', Promise.all([blocking, ...kept]))), [0, 2, 3]);
  t.same(batches, [[0], [2, 3]]);
  await pipeline.idle();
});

// A loop of steps as an LLM decodes: each request needs so many steps as its number says.
function decoding(size: number, seen: { most: number; joined: number; steps: number }): BatchHandler<'request'> {
  return async (tasks) => {
    const left = new Map(tasks.map((task) => [task, Number(task.input('request').meta.steps)]));
    while (left.size > 0) {
      seen.most = Math.max(seen.most, left.size);
      seen.steps++;
      if (left.size > size) throw new Error('too many');
      await sleep(1);
      for (const [task, steps] of left) {
        if (steps > 1) left.set(task, steps - 1);
        else {
          task.finish(answerOf(task));
          left.delete(task);
        }
      }
      for (const task of tasks[0]!.poll()) {
        seen.joined++;
        left.set(task, Number(task.input('request').meta.steps));
      }
    }
    return undefined;
  };
}

void t.test('poll() takes up tasks at a step, and what is through leaves at once', async (t) => {
  const seen = { most: 0, joined: 0, steps: 0 };
  const pipeline = await open(t, { size: 4 }, decoding(4, seen));
  const { gateway } = pipeline;
  let longEnded = false;
  const long = gateway.run({ meta: { n: 0, steps: 300 } }).then((result) => {
    longEnded = true;
    return result;
  });
  const short: PipelineResult[] = [];
  for (let n = 1; n <= 12; n++) {
    short.push(await within('a short one', gateway.run({ meta: { n, steps: 2 } })));
    t.notOk(longEnded, 'beside the long one');
  }
  t.same(
    numbers(short),
    Array.from({ length: 12 }, (_, i) => i + 1),
  );
  t.same(numbers([await within('the long one', long, 60_000)]), [0]);
  t.ok(seen.joined >= 11, `${seen.joined} joined`);
  await Promise.all(upTo(40).map((n) => within('a result', gateway.run({ meta: { n, steps: 1 + (n % 7) } }))));
  t.equal(seen.most, 4);
  await pipeline.idle();
});

void t.test('a batch that polls for ever takes up nothing behind a task of another key', async (t) => {
  const began: string[] = [];
  const pipeline = await open(t, { size: 2, key: (task) => String(task.input('request').meta.key) }, async (tasks) => {
    began.push(String(tasks[0]!.input('request').meta.key));
    const left = new Set(tasks);
    while (left.size > 0) {
      await sleep(1);
      for (const task of left) task.finish(answerOf(task));
      left.clear();
      for (const task of tasks[0]!.poll()) left.add(task);
    }
    return undefined;
  });
  const { gateway } = pipeline;
  let over = false;
  const client = async () => {
    while (!over) await gateway.run({ meta: { n: 0, key: 'busy' } });
  };
  const busy = [client(), client(), client()];
  await until('the busy key', () => began.includes('busy'));
  for (let n = 0; n < 5; n++) {
    t.equal(await codeOf(gateway.run({ meta: { n, key: 'other' } })), 'ok');
  }
  over = true;
  await within('the clients', Promise.all(busy));
  t.ok(began.filter((key) => key === 'other').length >= 1);
  await pipeline.idle();
});

void t.test('several batches run at a time, and outputs made in their memory arrive', async (t) => {
  let running = 0;
  let most = 0;
  const graph = workflow('blocks', here)
    .stage('a', {
      batch: { size: 3 },
      concurrency: 2,
      batchHandler: async (tasks) => {
        most = Math.max(most, ++running);
        await sleep(3);
        running--;
        return tasks.map((task) => {
          const { own } = task.output({ own: { dtype: 'u8', shape: [9000] } });
          (own.data as Uint8Array).fill(numberOf(task as BatchTask<'request'>));
          return { parts: { own, given: task.input('request').parts.given! } };
        });
      },
    })
    .stage('b', {
      after: ['a'],
      batch: { size: 5, waitMs: 3 },
      batchHandler: (tasks) => tasks.map((task) => ({ parts: task.input('a').parts })),
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const results = await within(
    'all',
    Promise.all(upTo(40).map((n) => pipeline.gateway.run({ meta: { n }, parts: { given: bytes(n, n) } }))),
  );
  results.forEach(({ outputs }, n) => {
    const { own, given } = outputs[0]!.parts;
    t.ok((own!.data as Uint8Array).length === 9000 && (own!.data as Uint8Array).every((byte) => byte === n));
    t.same([...(given!.data as Uint8Array)], [n, n]);
  });
  t.equal(most, 2);
  await pipeline.idle();
});

void t.test('a place that dies in a batch is replaced, and every request of the batch is answered', async (t) => {
  const begun = gate();
  let lives = 0;
  const pipeline = await open(t, { size: 4, waitMs: 5 }, async (tasks) => {
    if (lives++ === 0) {
      begun.open();
      await new Promise(() => {});
    }
    return tasks.map(answerOf);
  });
  const requests = upTo(6).map((n) => pipeline.gateway.run({ meta: { n } }));
  await within('the first batch', begun.opened);
  await pipeline.replace('a/0');
  t.same(numbers(await within('all', Promise.all(requests))), upTo(6));
  await pipeline.idle();
});

void t.test('a suspect runs alone, and all others together as before', async (t) => {
  const first = gate();
  const batches: number[][] = [];
  let isSuspect = true;
  let running = 0;
  const pipeline = await open(
    t,
    { size: 4 },
    async (tasks) => {
      const own = tasks.map(numberOf);
      batches.push(own);
      running++;
      if (own.includes(0)) await first.opened;
      else await sleep(3);
      if (isSuspect && own.includes(2)) t.equal(running, 1, 'nothing beside it');
      running--;
      return tasks.map(answerOf);
    },
    { concurrency: 2 },
  );
  const instance = pipeline.stages.get('a/0')!;
  const requests = [0].map((n) => pipeline.gateway.run({ meta: { n } }));
  await until('the first batch', () => batches.length === 1);
  // While the first batch runs, the suspect waits, and who came before it does not.
  instance.setSuspects([{ gateway: 0, gatewayRun: 1000, ticket: 3, attempt: 1 }]);
  requests.push(...[1, 2, 3, 4, 5].map((n) => pipeline.gateway.run({ meta: { n } })));
  await until('the suspect to wait', () => batches.length >= 2 && instance.status().ready >= 1);
  first.open();
  t.same(numbers(await within('all', Promise.all(requests))), upTo(6));
  t.same(
    batches.find((batch) => batch.includes(2)),
    [2],
  );
  t.ok(
    batches.some((batch) => batch.length > 1),
    JSON.stringify(batches),
  );
  instance.setSuspects([]);
  isSuspect = false;
  batches.length = 0;
  await runAll(pipeline, 16);
  t.ok(batches.length < 10, 'nobody is a suspect any more');
  await pipeline.idle();
});

void t.test('closing in the middle of a batch ends it and answers its requests', async (t) => {
  const begun = gate();
  const reasons: string[] = [];
  const polled: string[] = [];
  const graph = workflow('closing', here).stage('a', {
    batch: { size: 2, waitMs: 60_000 },
    batchHandler: async (tasks) => {
      for (const { signal } of tasks) signal.addEventListener('abort', () => reasons.push(signal.reason.code));
      begun.open();
      await until('the close', () => reasons.length === 2);
      polled.push(...tasks[0]!.poll().map(() => 'a task'), 'nothing');
      return tasks.map(() => ({}));
    },
  });
  const pipeline = await Harness.open(graph);
  const requests = upTo(3).map((n) => codeOf(pipeline.gateway.run({ meta: { n } })));
  await within('the batch', begun.opened);
  await within('the close', pipeline.close());
  t.same(await Promise.all(requests), ['RDMA_ERR_CLOSED', 'RDMA_ERR_CLOSED', 'RDMA_ERR_CLOSED']);
  t.same(reasons, ['RDMA_ERR_CLOSED', 'RDMA_ERR_CLOSED']);
  await until('the handler', () => polled.length > 0);
  t.same(polled, ['nothing']);
});

void t.test('an instance is given as many tasks as its batches take', async (t) => {
  const all = gate();
  const pipeline = await open(
    t,
    { size: 4 },
    async (tasks) => {
      await all.opened;
      return tasks.map(answerOf);
    },
    { concurrency: 2 },
  );
  const requests = upTo(30).map((n) => pipeline.gateway.run({ meta: { n } }));
  await until('two batches', () => pipeline.stages.get('a/0')!.status().batches?.running === 2);
  await pipeline.still();
  const { running, ready } = pipeline.stages.get('a/0')!.status();
  t.equal(running + ready, 12, 'two batches of four, and one more while nothing is measured');
  all.open();
  t.same(numbers(await within('all', Promise.all(requests))), upTo(30));
});
