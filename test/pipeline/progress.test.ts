// Proves how the time left is estimated, and that what handlers say of their progress reaches the caller, the watcher,
// or nobody, with its step and its preview, in order and whole.
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { type ProgressEvent, type StageTask, workflow } from '../../src/ts/pipeline/index.js';
import { behindUs, MIN_DONE, paceAfter, RequestProgress, restUs } from '../../src/ts/pipeline/progress.js';
import { failureOf, Harness, until, within } from './support.js';

const here = { module: __filename };

void t.test('a steady task has the rest of its time left, and a slower one more and more', async (t) => {
  let pace = { startedUs: 100, totalUs: Number.NaN };
  t.ok(Number.isNaN(restUs(pace, 500)), 'without a word nobody knows');
  pace = paceAfter(pace, 0, 500);
  t.ok(Number.isNaN(restUs(pace, 500)), 'nothing done says nothing');
  for (const done of [0.1, 0.2, 0.5, 0.9]) {
    pace = paceAfter(pace, done, 100 + 1000 * done);
    t.ok(Math.abs(restUs(pace, 100 + 1000 * done) - 1000 * (1 - done)) < 1e-6);
  }
  pace = paceAfter(pace, 0.95, 3000);
  t.ok(restUs(pace, 1100) > 500, 'it has slowed down');
  t.equal(restUs(paceAfter(pace, 1, 5000), 5000), 0, 'nothing is left of a finished task');
});

void t.test('an estimate is never negative and never NaN once there is a pace', async (t) => {
  const word = fc.record({ done: fc.double({ min: 0, max: 1, noNaN: true }), gapUs: fc.nat(1e6) });
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 30 }), (words) => {
      const progress = new RequestProgress();
      const place = { stage: 1, instance: 2 };
      if (progress.remainingUs(place, 0.5, 1, 0) !== undefined) throw new Error('it has not begun');
      let nowUs = 5;
      progress.started(place, nowUs);
      let hasPace = false;
      for (const { done, gapUs } of words) {
        nowUs += gapUs;
        const rest = progress.remainingUs(place, done, nowUs, 7);
        hasPace ||= done >= MIN_DONE;
        if (hasPace !== (rest !== undefined)) throw new Error('an estimate without a pace, or none with one');
        if (rest !== undefined && !(rest >= 7)) throw new Error(`${rest} us`);
      }
    }),
    { seed: 17, numRuns: 500 },
  );
  t.pass('500 tasks');
});

void t.test('the longest way behind a stage counts', async (t) => {
  const behind = [[1, 2], [3], [3], []];
  const usual = [1, 10, 200, 3000];
  t.equal(
    behindUs(behind, 0, (stage) => usual[stage]!),
    3200,
  );
  t.equal(
    behindUs(behind, 1, (stage) => usual[stage]!),
    3000,
  );
  t.equal(
    behindUs(behind, 3, (stage) => usual[stage]!),
    0,
  );
  t.equal(
    behindUs(behind, 0, () => Number.NaN),
    0,
    'what is not known counts as nothing',
  );
});

const paint = Uint8Array.from({ length: 16_384 }, (_, i) => i % 251);
const flow = workflow('progress', here)
  .stage('a', {
    handler: async (task) => {
      for (let step = 1; step <= 4; step++) {
        await sleep(5);
        task.progress(step / 4, step === 4 ? { step, preview: paint } : { step, preview: `step ${step} ✓` });
      }
      return {};
    },
  })
  .stage('b', {
    after: ['a'],
    handler: async (task) => {
      await sleep(20);
      task.progress(0.5);
      return {};
    },
  });

void t.test('a caller hears of its own request, with steps, previews and the time left', async (t) => {
  const pipeline = await Harness.open(flow);
  t.teardown(() => pipeline.close());
  for (let n = 0; n < 3; n++) await within('a result', pipeline.gateway.run({})); // What b costs is known then.
  const events: ProgressEvent[] = [];
  const other: ProgressEvent[] = [];
  const [result] = await within(
    'results',
    Promise.all([
      pipeline.gateway.run({}, { onProgress: (event) => void events.push(event) }),
      pipeline.gateway.run({}, { onProgress: (event) => void other.push(event) }),
    ]),
  );
  t.ok(events.every(({ request }) => request === result.request));
  t.equal(other.length, 5);
  t.match(events, [
    { stage: 'a', instance: 0, done: 0.25, step: 1, preview: 'step 1 ✓' },
    { stage: 'a', done: 0.5, step: 2, preview: 'step 2 ✓' },
    { stage: 'a', done: 0.75, step: 3, preview: 'step 3 ✓' },
    { stage: 'a', done: 1, step: 4 },
    { stage: 'b', done: 0.5 },
  ]);
  t.same(events[3]!.preview, paint, 'a picture of 16 KiB goes in pieces');
  t.ok(
    events.every(({ remainingMs }) => remainingMs !== undefined && remainingMs >= 0),
    `${events.map(({ remainingMs }) => remainingMs)}`,
  );
  t.ok(events[3]!.remainingMs! >= 15, 'when a is through, b takes its usual time still');
  await pipeline.idle();
});

void t.test('without a caller that listens nothing is sent, and a watcher hears of all', async (t) => {
  const silent = await Harness.open(flow);
  t.teardown(() => silent.close());
  await within('a result', silent.gateway.run({}));
  const watched = await Harness.open(flow, { watched: true });
  t.teardown(() => watched.close());
  await within('a result', watched.gateway.run({}));
  t.equal(silent.told.length, 0);
  const told = watched.told.filter(({ type }) => type === 'progress');
  t.match(told, [{ done: 0.25, step: 1, preview: 'step 1 ✓' }, {}, {}, { preview: paint }, { stage: 'b', done: 0.5 }]);
});

void t.test('a listener that throws harms no request', async (t) => {
  const pipeline = await Harness.open(flow);
  t.teardown(() => pipeline.close());
  const warned: string[] = [];
  const onWarning = (warning: Error) => void warned.push(warning.message);
  process.on('warning', onWarning);
  t.teardown(() => void process.off('warning', onWarning));
  t.match(await failureOf(pipeline.gateway.run({}, { onProgress: 5 as never })), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  const onProgress = () => {
    throw new Error('not now');
  };
  await within('a result', pipeline.gateway.run({}, { onProgress }));
  await until('the warning', () => warned.length > 0);
  t.match(warned, [/onProgress failed.*not now/s]);
  t.same(pipeline.failures, []);
});

void t.test('what a handler cannot say fails its request', async (t) => {
  const wrong: Record<string, (task: StageTask) => void> = {
    step: (task) => task.progress(0.5, { step: -1 }),
    preview: (task) => task.progress(0.5, { preview: 5 as never }),
    details: (task) => task.progress(0.5, 'half' as never),
    large: (task) => task.progress(0.5, { preview: 'é'.repeat(8193) }),
  };
  const pipeline = await Harness.open(
    workflow('wrong', here).stage('a', {
      handler: (task) => {
        wrong[String(task.input('request').meta.deed)]!(task);
        return {};
      },
    }),
  );
  t.teardown(() => pipeline.close());
  for (const deed of Object.keys(wrong)) {
    t.match(await failureOf(pipeline.gateway.run({ meta: { deed } })), { code: 'RDMA_ERR_STAGE_FAILED' }, deed);
  }
});

void t.test('a gateway that is busy gets progress without pictures, and no queue of them', async (t) => {
  // A lane that is small, and a gateway that does not look at it while the handler tells all.
  const flow = workflow('many', here).stage('a', {
    handler: (task) => {
      for (let step = 1; step <= 200; step++) task.progress(step / 200, { step, preview: paint });
      return {};
    },
  });
  const pipeline = await Harness.open(flow, { sizes: { laneMessages: 8 } });
  t.teardown(() => pipeline.close());
  const events: ProgressEvent[] = [];
  await within('a result', pipeline.gateway.run({}, { onProgress: (event) => void events.push(event) }));
  const { droppedPreviews } = pipeline.stages.get('a/0')!.status();
  t.ok(droppedPreviews > 150, `${droppedPreviews} of 200 were dropped`);
  for (const { preview } of events) if (preview !== undefined) t.same(preview, paint, 'what comes is whole');
  await pipeline.idle();
});
