// Proves: settings that cannot be measured are refused by name.
import t from 'tap';
import { overloadPeersNamed } from '../../../bench/peers/overload/peers.js';
import { checkOverloadSettings, overloadDefaults, slotsOf } from '../../../src/ts/bench/overload/settings.js';

void t.test('the defaults pass', async (t) => {
  t.strictSame(checkOverloadSettings(overloadDefaults), overloadDefaults);
  t.equal(slotsOf(overloadDefaults), 8);
});

const wrong: [string, Record<string, unknown>, RegExp][] = [
  ['a device without a name', { device: '' }, /device/],
  ['no test', { tests: [] }, /only/],
  ['a test that is none', { tests: ['storm'] }, /only/],
  ['no factor', { factors: [] }, /factor/],
  ['a factor of 0', { factors: [0] }, /factor/],
  ['a factor above 100', { factors: [3, 100.5] }, /factor/],
  ['a factor that is no number', { factors: [Number.NaN] }, /factor/],
  ['work that is none', { work: 'dream' }, /work/],
  ['tasks of 0 ms', { serviceMs: 0 }, /service-ms/],
  ['tasks that cannot be in time', { serviceMs: 300 }, /deadline-ms: 3 stages of 300 ms/],
  ['no instance', { instances: 0 }, /instances/],
  ['65 tasks at a time', { concurrency: 65 }, /concurrency/],
  ['no queue', { queued: 0 }, /queued/],
  ['a deadline of 9 ms', { deadlineMs: 9 }, /deadline-ms/],
  ['0 seconds', { seconds: 0 }, /seconds/],
  ['a seed of 33 bits', { seed: 2 ** 32 }, /seed/],
  ['one instance that hangs, and no other', { instances: 1 }, /instances: .* at least 2/],
];
for (const [what, change, says] of wrong) {
  void t.test(`${what} is refused by name`, async (t) => {
    const settings = { ...overloadDefaults, ...change };
    t.throws(() => checkOverloadSettings(settings), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: says });
  });
}

void t.test('names stand for one or several peers, each once', async (t) => {
  const names = (list: string[]) => overloadPeersNamed(list).map(({ name }) => name);
  t.strictSame(names(['bullmq', 'pqueue', 'bullmq']), ['pqueue', 'bullmq']);
  t.strictSame(names(['all']), ['pqueue', 'pqueue-tuned', 'bullmq']);
  t.strictSame(names([]), []);
  t.throws(() => overloadPeersNamed(['pigeon']), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /pigeon.*pqueue/ });
});
