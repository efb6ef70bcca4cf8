// Proves that a stage says how it is scaled within bounds, and is refused by name where it does not.
import t from 'tap';
import { checkSpec } from '../../src/ts/pipeline/index.js';

const stageWith = (more: object) => checkSpec({ name: 'clip', stages: [{ name: 'work', ...more }] }).stages[0]!;

void t.test('a stage that is scaled has its least instances first, and survives JSON', (t) => {
  t.equal('scale' in stageWith({}), false);
  const stage = stageWith({ scale: { min: 2, sloMs: 500, quantile: 0.9, loadMs: 20_000 } });
  t.strictSame(stage.scale, { min: 2, max: 64, sloMs: 500, quantile: 0.9, loadMs: 20_000 });
  t.equal(stage.instances, 2);
  t.ok(Object.isFrozen(stage.scale));
  const spec = checkSpec({ name: 'clip', stages: [{ name: 'work', scale: { max: 3, sloMs: 1 } }] });
  t.strictSame(checkSpec(JSON.parse(JSON.stringify(spec))), spec);
  t.end();
});

void t.test('a stage that may sleep begins with one instance, and idleMs says how long it waits for more', (t) => {
  const stage = stageWith({ scale: { min: 0, sloMs: 500, idleMs: 2000 } });
  t.strictSame(stage.scale, { min: 0, max: 64, sloMs: 500, zeroAfterMs: 2000, zeroAfterGaps: 0 });
  t.equal(stage.instances, 1);
  const spec = checkSpec({ name: 'clip', stages: [{ name: 'work', scale: { min: 0, sloMs: 1, idleMs: 5 } }] });
  t.strictSame(checkSpec(JSON.parse(JSON.stringify(spec))), spec);
  t.end();
});

void t.test('what makes no sense is named', (t) => {
  const cases: [object, RegExp][] = [
    [{ scale: {} }, /sloMs in scale of stage work/],
    [{ scale: { sloMs: 0 } }, /sloMs/],
    [{ scale: { sloMs: Number.NaN } }, /sloMs/],
    [{ scale: { sloMs: '5' } }, /sloMs/],
    [{ scale: { sloMs: 5, min: -1 } }, /min in scale/],
    [{ scale: { sloMs: 5, idleMs: -1 } }, /idleMs in scale/],
    [{ scale: { sloMs: 5, idleMs: 5, zeroAfterMs: 5 } }, /both idleMs and zeroAfterMs/],
    [{ scale: { sloMs: 5, idleMs: 5, zeroAfterGaps: 5 } }, /both idleMs and zeroAfterGaps/],
    [{ scale: { sloMs: 5, min: 0 }, instances: 0 }, /instances/],
    [{ scale: { sloMs: 5, min: 5, max: 4 } }, /min in scale/],
    [{ scale: { sloMs: 5, max: 65 } }, /max in scale/],
    [{ scale: { sloMs: 5, quantile: 1 } }, /quantile/],
    [{ scale: { sloMs: 5, evidence: 0 } }, /evidence/],
    [{ scale: { sloMs: 5, downAfterMs: -1 } }, /downAfterMs/],
    [{ scale: { sloMs: 5, slo: 5 } }, /no field slo.*there are min, max/],
    [{ scale: { sloMs: 5 }, spread: 'shard' }, /spreads requests by shard/],
    [{ scale: { sloMs: 5, min: 2, max: 4 }, instances: 5 }, /instances/],
    [{ scale: 5 }, /scale of stage work/],
    [{ scale: null }, /scale of stage work/],
  ];
  for (const [more, message] of cases) {
    t.throws(() => stageWith(more), { code: 'RDMA_ERR_INVALID_ARGUMENT', message }, JSON.stringify(more));
  }
  t.end();
});
