// Proves when the watch looks: while there is work, and as long as a process that it saw to be stopped has not gone on
// or been ended.
import t, { type Test } from 'tap';
import { PlaceWatch, type Verdict } from '../../src/ts/cluster/place-watch.js';
import { Watchman } from '../../src/ts/cluster/watchman.js';
import { until } from '../pipeline/support.js';

const EVERY_MS = 10;

/** A pipeline of one process. */
function world(heartbeatMs: number) {
  const watch = new PlaceWatch({ heartbeatMs, taskTimeoutMs: undefined, graceMs: 1000 });
  const scene = { busy: true, stopped: false, looks: 0, changes: [] as boolean[], verdicts: [] as Verdict[] };
  const process = {
    watch,
    tasks: [],
    isStopped: () => {
      scene.looks++;
      return scene.stopped;
    },
    onUnwanted: () => {},
    onStopped: (isStopped: boolean) => void scene.changes.push(isStopped),
    onVerdict: (verdict: Verdict) => void scene.verdicts.push(verdict),
  };
  const processes = () => (scene.verdicts.length > 0 ? [] : [process]);
  const watchman = new Watchman({ processes, isBusy: () => scene.busy, isWanted: () => true }, EVERY_MS);
  return { watchman, watch, scene };
}

/** Proves that it looks no more. */
async function endsLooking(t: Test, scene: { looks: number }): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 5 * EVERY_MS));
  const { looks } = scene;
  await new Promise((resolve) => setTimeout(resolve, 5 * EVERY_MS));
  t.equal(scene.looks, looks, 'it looks no more');
}

void t.test('without work it ends, and begins when it is woken', async (t) => {
  const { watchman, scene } = world(1000);
  t.teardown(() => watchman.stop());
  watchman.wake();
  await until('looks', () => scene.looks >= 3);
  scene.busy = false;
  await endsLooking(t, scene);
  const { looks } = scene;
  watchman.wake();
  await until('a look', () => scene.looks > looks);
});

void t.test('one that was stopped when the work ended is seen to go on', async (t) => {
  const { watchman, watch, scene } = world(60_000);
  t.teardown(() => watchman.stop());
  watchman.wake();
  scene.stopped = true;
  scene.busy = false;
  await until('the stop', () => watch.isStopped);
  scene.stopped = false;
  await until('its end', () => !watch.isStopped);
  t.same(scene.changes, [true, false]);
  await endsLooking(t, scene);
});

void t.test('one that stays stopped is ended, though the work has ended', async (t) => {
  const { watchman, scene } = world(100);
  t.teardown(() => watchman.stop());
  watchman.wake();
  scene.stopped = true;
  scene.busy = false;
  await until('the verdict', () => scene.verdicts.length > 0);
  t.match(scene.verdicts, [{ kind: 'hang', words: /stopped for 100 ms/ }]);
});
