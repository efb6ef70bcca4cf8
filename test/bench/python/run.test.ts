// Proves that `onepiece bench python` measures every row, that nothing is copied between the stages, and that settings
// out of range are refused.
import t from 'tap';
import { pythonPeers } from '../../../bench/peers/python/hand-over.js';
import { pythonBench } from '../../../src/ts/bench/python/run.js';
import { checkPythonBench } from '../../../src/ts/bench/python/settings.js';
import { within } from '../../pipeline/support.js';

const SMALL = { interpreter: '/usr/bin/python3', roundTrips: 20, rests: 2, restMs: 1, handOvers: 3 };

void t.test('every row is measured, and nothing is copied between two stages', async (t) => {
  const settings = checkPythonBench({ ...SMALL, handOverBytes: 2 ** 20 });
  const steps: string[] = [];
  const measure = pythonBench(settings, pythonPeers, (words) => steps.push(words), new AbortController().signal);
  const { rows, failures, python } = await within('the measurement', measure, 60_000);
  t.same(failures, []);
  t.match(python, /^Python 3\./);
  t.same(
    rows.map(({ bytes }) => bytes),
    [64, 64, 2 ** 20, 2 ** 20, 2 ** 20, 2 ** 20],
  );
  t.ok(rows.every(({ latencyUs }) => latencyUs.p50 > 0));
  t.equal(rows[2]!.copiedBytes, 0);
  t.equal(steps.length, 5);
});

void t.test('settings out of range are refused', async (t) => {
  for (const wrong of [{ roundTrips: 0 }, { handOverBytes: 7 }, { handOvers: 1.5 }, { interpreter: '' }]) {
    t.throws(() => checkPythonBench(wrong), { code: 'RDMA_ERR_INVALID_ARGUMENT' }, Object.keys(wrong).join());
  }
});
