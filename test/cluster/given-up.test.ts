// When the processes of an app let go of a place that is lost.
import t from 'tap';
import { isGivenUp } from '../../src/ts/cluster/given-up.js';
import { makePlan } from '../../src/ts/pipeline/index.js';
import { SPEC } from './reconcile-world.js';

const older = makePlan(SPEC, 1, [[0, 1], [0]], [0, 1]);
const newest = makePlan(SPEC, 2, [[0], [0]], [0, 1]);
const known = { spec: SPEC, plans: [older, newest] };

void t.test('a place is kept for as long as a gateway may take what comes of it', async (t) => {
  const given = { plans: [1, 2], lost: ['a/1'] };
  t.notOk(isGivenUp(known, 'a/1', [given, { plans: [1], lost: [] }]), 'one has not heard of it');
  t.notOk(isGivenUp(known, 'a/1', [given, { plans: [1, 2], lost: ['b/0'] }]), 'one has given up another');
  t.ok(isGivenUp(known, 'a/1', [given, given]), 'all have given it up');
  t.ok(isGivenUp(known, 'a/1', [given, { plans: [2], lost: [] }]), 'one has no plan with it');
  t.ok(isGivenUp(known, 'a/1', []), 'nobody is there');
  t.ok(isGivenUp(known, 'a/1', [{ plans: [1] }]), 'an older release does not say it');
});
