// Proves that the time of a simulation is that of its last event or arrival.
import t from 'tap';
import { Timeline } from '../../../src/ts/planner/fleet/timeline.js';

void t.test('time passes with events and between them', async (t) => {
  const timeline = new Timeline();
  t.same([timeline.nowS, timeline.nextS], [0, Number.POSITIVE_INFINITY]);
  timeline.add(5, { type: 'death' });
  timeline.add(3, { type: 'outage', begins: true });
  t.equal(timeline.nextS, 3);
  timeline.moveTo(2);
  t.same([timeline.nowS, timeline.nextS], [2, 3], 'no event happened');
  t.same(timeline.take(), { type: 'outage', begins: true });
  t.equal(timeline.nowS, 3);
  timeline.add(5, { type: 'outage', begins: false });
  t.same(timeline.take(), { type: 'death' }, 'added first');
  t.same(timeline.take(), { type: 'outage', begins: false });
  t.same([timeline.nowS, timeline.nextS], [5, Number.POSITIVE_INFINITY]);
});
