// Proves: settings that cannot be measured are refused by name, and lanes hold what is sent through them.
import t from 'tap';
import { roundsWithin } from '../../../src/ts/bench/kit/ping-pong.js';
import { checkRingSettings, laneSizes, ringDefaults, ringTests } from '../../../src/ts/bench/ring/settings.js';

void t.test('the defaults of every benchmark pass', async (t) => {
  for (const test of ringTests) t.strictSame(checkRingSettings(ringDefaults(test)), ringDefaults(test));
});

const wrong: [string, Record<string, unknown>, RegExp][] = [
  ['no size', { sizes: [] }, /size/],
  ['a size of 0', { sizes: [0] }, /size/],
  ['a size above 1 GiB', { sizes: [2 ** 30 + 1] }, /size/],
  ['too many iterations', { iterations: 10_000_001 }, /iterations/],
  ['a duration of 0', { durationS: 0 }, /duration/],
  ['65 producers', { producers: 65 }, /producers/],
  ['no producer', { producers: 0 }, /producers/],
  ['a test that is none', { test: 'ring-sum' }, /test/],
  ['a way that is none', { way: 'carry' }, /way/],
  ['pulls of another benchmark than ring-lat', { test: 'ring-bw', way: 'pull' }, /pull/],
  ['a device without a name', { device: '' }, /device/],
];
for (const [what, change, says] of wrong) {
  void t.test(`${what} is refused by name`, async (t) => {
    const settings = { ...ringDefaults('ring-lat'), ...change };
    t.throws(() => checkRingSettings(settings), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: says });
  });
}

void t.test('a lane takes its messages, up to the largest', async (t) => {
  for (const size of [1, 64, 2 ** 20, 2 ** 24, 2 ** 26, 2 ** 30]) {
    const { dataBytes, retainBytes } = laneSizes(size);
    t.ok(dataBytes >= size && retainBytes >= size && dataBytes <= 2 ** 31 - 64, `${size}: ${dataBytes}`);
  }
  t.equal(laneSizes(64).dataBytes, 2 ** 20);
});

void t.test('a duration holds so many rounds, within bounds', async (t) => {
  t.equal(roundsWithin(1, 1), 1000);
  t.equal(roundsWithin(1, 0), 100_000);
  t.equal(roundsWithin(1, 10_000), 5);
});
