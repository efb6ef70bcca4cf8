// Proves: a place has the condition that counts most, and the reason when it was given up.
import t from 'tap';
import { conditionOf } from '../../src/ts/cluster/place-condition.js';
import { RdmaError } from '../../src/ts/pipeline/index.js';

void t.test('of several things that are true, the one that counts most', async (t) => {
  const place = { leaving: false, givenUp: undefined, ready: false, pid: undefined };
  const givenUp = new RdmaError('RDMA_ERR_STAGE_FAILED', 'no model');
  t.match(conditionOf(place), { state: 'waiting', pid: undefined });
  t.match(conditionOf({ ...place, pid: 7 }), { state: 'starting', pid: 7 });
  t.match(conditionOf({ ...place, pid: 7, ready: true }), { state: 'ready' });
  t.match(conditionOf({ ...place, givenUp }), { state: 'given-up', reason: /no model/ });
  t.match(conditionOf({ ...place, leaving: true, givenUp, ready: true }), { state: 'leaving' });
});
