// Proves what fits into the memory of a GPU together.
import t from 'tap';
import { packable, residentOf, wholesIn } from '../../../src/ts/planner/fleet/packing.js';
import { costsOf } from '../../../src/ts/planner/profiles/costs.js';
import { H100, shipped } from './workloads.js';

const wan = costsOf(shipped('wan21-i2v-14b-480p-40'), H100);

void t.test('memory: models that fit beside each other, and stages that fit on one GPU', async (t) => {
  t.equal(residentOf(48, 39.1, 80), 1);
  t.equal(residentOf(32, 28, 80), 2, 'weights twice, the rest once');
  t.equal(residentOf(90, 80, 80), 1, 'what runs at all holds its own');
  t.equal(residentOf(10, 0, 80), 1, 'without weights there is nothing to hold twice');
  t.equal(residentOf(20, 30, 80), 2, 'weights that are more than the whole: no rest');
  t.same([...packable(wan)], ['encode', 'decode']);
});

void t.test('stages are packed only where all shared ones fit, and there are several', async (t) => {
  const [first] = wan.stages;
  const stage = (name: string, memoryGB: number, more = {}) => ({ ...first!, name, memoryGB, gpus: 1, ...more });
  const packedOf = (...stages: ReturnType<typeof stage>[]) => [...packable({ ...wan, stages })];
  const shared = { shared: true };
  t.same(packedOf(stage('a', 40, shared), stage('b', 40, shared)), ['a', 'b'], 'all of it');
  t.same(packedOf(stage('a', 40, shared), stage('b', 40.1, shared)), []);
  t.same(packedOf(stage('a', 1, shared)), [], 'one alone');
  t.same(packedOf(stage('a', 1, shared), stage('b', 1, { shared: false })), [], 'weights of one model');
  t.same(packedOf(stage('a', 1, shared), stage('b', 1, { shared: true, gpus: 2 })), [], 'more than one GPU');
});

void t.test('the model of which the fewest whole pipelines fit decides how many fit', async (t) => {
  const whole = (weightsGB: number, wholeMemoryGB: number) => {
    const stages = wan.stages.map((stage, i) => ({ ...stage, weightsGB: i === 0 ? weightsGB : 0 }));
    return { ...wan, stages, wholeMemoryGB };
  };
  t.equal(wholesIn([whole(20, 30)]), 3);
  t.equal(wholesIn([whole(20, 30), whole(35, 40)]), 2);
});
