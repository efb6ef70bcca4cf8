// Proves that a spec which passes its check is a graph without cycles in which the request reaches every stage, that it
// survives JSON unchanged, and that everything else is refused.
import fc from 'fast-check';
import t from 'tap';
import {
  batchSizeOf,
  capacityOf,
  checkSpec,
  MAX_MESSAGE_BYTES,
  MAX_STAGES,
  sizeRemedy,
  type StageSpecInput,
  type WorkflowSpec,
} from '../../src/ts/pipeline/spec.js';
import { examples } from './graphs.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const withStages = (...stages: unknown[]) => checkSpec({ name: 'flow', stages });

void t.test('a stage is filled in with its defaults and frozen', async (t) => {
  const spec = withStages({ name: 'a' }, { name: 'b', after: ['a', 'request', 'a'], spread: 'shard', instances: 3 });
  t.same(spec, {
    name: 'flow',
    maxRequestBytes: 4 * 2 ** 20,
    stages: [
      {
        name: 'a',
        after: ['request'],
        instances: 1,
        spread: 'route',
        concurrency: 1,
        maxOutputBytes: 4 * 2 ** 20,
        maxPieces: 0,
        streams: [],
        graceMs: 1000,
        attempts: 3,
      },
      {
        name: 'b',
        after: ['a', 'request'],
        instances: 3,
        spread: 'shard',
        concurrency: 1,
        maxOutputBytes: 4 * 2 ** 20,
        maxPieces: 0,
        streams: [],
        graceMs: 1000,
        attempts: 3,
      },
    ],
  });
  for (const part of [spec, spec.stages, spec.stages[0], spec.stages[1]!.after]) t.ok(Object.isFrozen(part));
});

void t.test('a stage that takes batches says how many and how long it waits', async (t) => {
  const spec = withStages({ name: 'a', concurrency: 2, batch: { size: 8, key: () => 'not data' } }, { name: 'b' });
  t.same(spec.stages[0]!.batch, { size: 8, waitMs: 0 });
  t.ok(Object.isFrozen(spec.stages[0]!.batch));
  t.same(checkSpec(JSON.parse(JSON.stringify(spec))), spec);
  t.same(spec.stages.map(capacityOf), [16, 1]);
  t.same(spec.stages.map(batchSizeOf), [8, 1]);
  t.equal(withStages({ name: 'a', batch: { size: 64, waitMs: 0.5 }, concurrency: 2 }).stages[0]!.batch!.waitMs, 0.5);
  for (const batch of [null, 5, {}, { size: 0 }, { size: 65 }, { size: 1.5 }, { size: '8' }]) {
    t.throws(() => withStages({ name: 'a', batch }), INVALID);
  }
  for (const waitMs of [-1, 60_001, Number.NaN, '1', null]) {
    t.throws(() => withStages({ name: 'a', batch: { size: 2, waitMs } }), { ...INVALID, message: /batch\.waitMs/ });
  }
  t.throws(() => withStages({ name: 'a', concurrency: 3, batch: { size: 64 } }), {
    ...INVALID,
    message: /would run 3 batches of 64 at a time; at most 128 tasks/,
  });
});

void t.test('a stage may leave it to each request how it is spread', async (t) => {
  t.equal(withStages({ name: 'a', spread: 'either' }).stages[0]!.spread, 'either');
  for (const spread of ['both', 5, {}]) t.throws(() => withStages({ name: 'a', spread }), INVALID);
});

void t.test('only what comes after a stage that publishes pieces can stream it', async (t) => {
  const make = { name: 'make', maxPieces: 1024 };
  const { stages } = withStages(make, { name: 'take', after: ['make', 'request'], streams: ['make', 'make'] });
  t.same(stages[1]!.streams, ['make']);
  t.ok(Object.isFrozen(stages[1]!.streams));
  const refused: [object, RegExp][] = [
    [{ after: ['make'], streams: 'make' }, /streams of stage take must be an array/],
    [{ after: ['request'], streams: ['make'] }, /streams make, but does not come after it/],
    [{ after: ['make', 'request'], streams: ['request'] }, /streams request, which publishes no pieces/],
    [{ after: ['whole'], streams: ['whole'] }, /streams whole, which publishes no pieces/],
    [{ maxPieces: 4, batch: { size: 2 } }, /takes batches: it can neither stream/],
    [{ after: ['make'], streams: ['make'], batch: { size: 2 } }, /takes batches: it can neither stream/],
    [{ maxPieces: -1 }, /maxPieces must be an integer from 0 to 1024/],
    [{ maxPieces: 1025 }, /maxPieces must be an integer from 0 to 1024/],
  ];
  for (const [change, message] of refused) {
    t.throws(() => withStages(make, { name: 'whole' }, { name: 'take', ...change }), { ...INVALID, message });
  }
});

void t.test('names mean one thing', async (t) => {
  for (const name of ['', 'A', '1a', 'a_b', 'a/b', '-a', 'x'.repeat(64), 5, undefined, null]) {
    t.throws(() => checkSpec({ name, stages: [{ name: 'a' }] }), INVALID, `workflow ${String(name)}`);
    t.throws(() => withStages({ name }), INVALID, `stage ${String(name)}`);
  }
  for (const name of ['request', 'result', 'gateway', 'a']) {
    t.throws(() => withStages({ name: 'a' }, { name }), INVALID, name);
  }
});

void t.test('what is out of range, of another type, or names what comes later is refused', async (t) => {
  const wrong: unknown[] = [
    undefined,
    null,
    'a',
    { after: ['later'] },
    { taskTimeoutMs: 0 },
    { taskTimeoutMs: 2 ** 31 },
    { graceMs: -1 },
    { graceMs: '1' },
    { attempts: 0 },
    { attempts: 1.5 },
    { after: ['b'] },
    { after: ['gateway'] },
    { after: [] },
    { after: 'a' },
    { after: [5] },
    { instances: 0 },
    { instances: 65 },
    { instances: 1.5 },
    { instances: '2' },
    { concurrency: 0 },
    { concurrency: 65 },
    { spread: 'all' },
    { spread: 5 },
    { maxOutputBytes: 0 },
    { maxOutputBytes: 2 ** 30 + 1 },
    { maxOutputBytes: Number.NaN },
  ];
  for (const stage of wrong) {
    const whole = typeof stage === 'object' && stage !== null ? { name: 'b', ...stage } : stage;
    t.throws(() => withStages(whole), INVALID, JSON.stringify(stage));
  }
  for (const spec of [
    undefined,
    null,
    5,
    [],
    {},
    { name: 'a' },
    { name: 'a', stages: [] },
    { name: 'a', stages: 'b' },
  ]) {
    t.throws(() => checkSpec(spec), INVALID, JSON.stringify(spec));
  }
  t.throws(() => checkSpec({ name: 'a', stages: [{ name: 'b' }], maxRequestBytes: 0 }), INVALID);
});

void t.test('a workflow has up to 64 stages', async (t) => {
  const many = (count: number): StageSpecInput[] => Array.from({ length: count }, (_, i) => ({ name: `s${i}` }));
  t.equal(withStages(...many(MAX_STAGES)).stages.length, 64);
  t.throws(() => withStages(...many(MAX_STAGES + 1)), INVALID);
});

void t.test(
  'any spec that passes is the same after JSON, has no cycle, and its request reaches every stage',
  async (t) => {
    fc.assert(
      fc.property(examples, ({ spec }) => {
        const again = checkSpec(JSON.parse(JSON.stringify(spec)));
        if (JSON.stringify(again) !== JSON.stringify(spec)) throw new Error('another spec');
        const reached = new Set(['request']);
        for (const stage of spec.stages) {
          if (!stage.after.every((name) => reached.has(name))) throw new Error(`${stage.name} comes before its input`);
          if (new Set(stage.after).size !== stage.after.length) throw new Error('a name twice');
          reached.add(stage.name);
        }
      }),
      { seed: 11, numRuns: 300 },
    );
    const { stages }: WorkflowSpec = withStages({ name: 'a' });
    t.equal(stages.length, 1);
  },
);

void t.test('a limit is to be raised only where it can be raised so far', async (t) => {
  t.equal(sizeRemedy(MAX_MESSAGE_BYTES, 'the limit of a'), 'raise the limit of a');
  const remedy = sizeRemedy(MAX_MESSAGE_BYTES + 1, 'the limit of a');
  t.match(remedy, /several messages.*1073741824 is the most/);
  t.notMatch(remedy, /raise/);
});
