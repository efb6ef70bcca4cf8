// Proves that `onepiece bench python` measures every row, that nothing is copied between the stages, that a peer which
// is not installed or fails keeps no other one from being measured, and that settings out of range are refused.
import t from 'tap';
import { pythonPeers } from '../../../bench/peers/python/hand-over.js';
import type { PythonPeer } from '../../../src/ts/bench/python/peer.js';
import { pythonBench } from '../../../src/ts/bench/python/run.js';
import { checkPythonBench } from '../../../src/ts/bench/python/settings.js';
import { within } from '../../pipeline/support.js';

const SMALL = { interpreter: '/usr/bin/python3', roundTrips: 20, rests: 2, restMs: 1, handOvers: 3 };

const fail = (words: string) => () => {
  throw new Error(words);
};

void t.test('every row is measured, and nothing is copied between two stages', async (t) => {
  const settings = checkPythonBench({ ...SMALL, handOverBytes: 2 ** 20 });
  const steps: string[] = [];
  const measure = pythonBench(settings, pythonPeers, (words) => steps.push(words), new AbortController().signal);
  const { rows, missing, failures, python } = await within('the measurement', measure, 60_000);
  t.same(failures, []);
  t.match(python, /^Python 3\./);
  if (process.env.CI) t.same(missing, []);
  const measured = pythonPeers.filter(({ what }) => !missing.some((other) => other.what === what));
  t.same(
    rows.slice(3).map(({ what }) => what),
    measured.map(({ what }) => what),
  );
  t.same(
    rows.map(({ bytes }) => bytes),
    [64, 64, 2 ** 20, ...measured.map(() => 2 ** 20)],
  );
  t.ok(rows.every(({ latencyUs }) => latencyUs.p50 > 0));
  t.equal(rows[2]!.copiedBytes, 0);
  t.equal(steps.length, 2 + pythonPeers.length);
});

void t.test(
  'a peer that is not there is left out, one that fails is a failure, and the others are measured',
  async (t) => {
    const settings = checkPythonBench({ ...SMALL, handOverBytes: 1024 });
    const peer = (what: string, check: () => void, measure: () => Promise<number[]>): PythonPeer => ({
      what,
      check,
      measure,
    });
    const good = async () => [1, 2, 3];
    const peers = [
      peer('absent', fail('not installed (apt-get install pigeon)'), good),
      peer(
        'broken',
        () => {},
        async () => fail('it fell down')(),
      ),
      peer('right', () => {}, good),
    ];
    const measure = pythonBench(settings, peers, () => {}, new AbortController().signal);
    const { rows, missing, failures } = await within('the measurement', measure, 60_000);
    t.match(missing, [{ what: 'absent', reason: /apt-get install pigeon/ }]);
    t.match(failures, [{ what: 'broken', reason: /it fell down/ }]);
    t.match(rows[3], { what: 'right', latencyUs: { p50: 2 } });
    t.equal(rows.length, 4);
  },
);

void t.test('settings out of range are refused', async (t) => {
  for (const wrong of [{ roundTrips: 0 }, { handOverBytes: 7 }, { handOvers: 1.5 }, { interpreter: '' }]) {
    t.throws(() => checkPythonBench(wrong), { code: 'RDMA_ERR_INVALID_ARGUMENT' }, Object.keys(wrong).join());
  }
});
