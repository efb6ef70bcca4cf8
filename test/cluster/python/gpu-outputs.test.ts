// Proves who gets a handle of GPU memory and why others do not, and that a block is given back once, to the process
// that has it.
import t from 'tap';
import { GpuOutputs } from '../../../src/ts/cluster/python/gpu-outputs.js';
import type { GpuAddress, PlaceAddress } from '../../../src/ts/pipeline/index.js';

const HERE = 'this memory';

function world(places: Record<string, GpuAddress | undefined>) {
  const announced: GpuAddress[] = [];
  const addressOf = (place: string): PlaceAddress | undefined =>
    Object.hasOwn(places, place) ? { machine: 'm', hostname: 'h', devices: [], gpu: places[place] } : undefined;
  return { announced, memory: HERE, addressOf, announce: (gpu: GpuAddress) => void announced.push(gpu) };
}

void t.test('all receivers must be able to open it', async (t) => {
  const outputs = new GpuOutputs(
    world({
      'a/0': { memory: HERE, probe: 'probe a' },
      'b/0': { memory: HERE, probe: 'probe b' },
      'mig/0': { memory: HERE, why: 'operation not supported' },
      'far/0': { memory: 'another', probe: 'probe' },
      'js/0': undefined,
    }),
    true,
  );
  t.equal(outputs.peersOf({ receivers: ['a/0'] }), undefined, 'no process runs yet');
  outputs.begin({ probe: 'own' }, () => {});
  t.same(outputs.peersOf({ receivers: ['a/0', 'b/0'] }), [
    ['a/0', 'probe a'],
    ['b/0', 'probe b'],
  ]);
  t.match(outputs.peersOf({ receivers: ['a/0', 'mig/0'] }), /mig\/0 opens no memory of a GPU: operation not supported/);
  t.match(outputs.peersOf({ receivers: ['far/0'] }), /far\/0 is on another host, or in another container/);
  t.match(outputs.peersOf({ receivers: ['js/0'] }), /js\/0 opens no memory of a GPU/);
  t.match(outputs.peersOf({ receivers: ['gone/0'] }), /gone\/0 takes no memory of a GPU, or is being replaced/);
});

void t.test('others learn what the process offers', async (t) => {
  const own = world({});
  const outputs = new GpuOutputs(own, true);
  outputs.begin({ probe: 'first' }, () => {});
  outputs.begin({ why: 'no driver' }, () => {});
  t.same(own.announced, [
    { memory: HERE, probe: 'first' },
    { memory: HERE, why: 'no driver' },
  ]);
  t.match(outputs.status(), { isOffered: false, why: 'no driver' });
  const without = world({});
  new GpuOutputs(without, false).begin({ why: 'it asked for none' }, () => {});
  t.same(without.announced, [], 'a stage that has nothing to do with GPUs says nothing');
});

void t.test('a block is given back with its last reference, and not to another process', async (t) => {
  const outputs = new GpuOutputs(world({}), true);
  const freed: number[] = [];
  outputs.begin({ probe: 'p' }, (block) => freed.push(block));
  const [one, two, late] = [outputs.hold(1), outputs.hold(2), outputs.hold(3)];
  one.retain();
  one.release();
  t.same([freed, outputs.held], [[], 3]);
  one.release();
  two.release();
  t.same([freed, outputs.held], [[1, 2], 1]);
  t.equal(outputs.end(), 1, 'one was needed still');
  outputs.begin({ probe: 'q' }, (block) => freed.push(-block));
  late.release();
  t.same([freed, outputs.held], [[1, 2], 0]);
});

void t.test('what the process says of its outputs is counted', async (t) => {
  const outputs = new GpuOutputs(world({}), true);
  outputs.begin({ probe: 'p' }, () => {});
  outputs.count([2, 0, null]);
  outputs.count([1, 3, 'a/0 is in JavaScript']);
  outputs.count([Number.NaN, -1, null]);
  t.same(outputs.status(), { isOffered: true, shared: 3, throughHost: 3, why: 'a/0 is in JavaScript', held: 0 });
});
