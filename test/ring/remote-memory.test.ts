// Proves when memory of producers is unmapped: while a message holds it never, unused some seconds later; and that a
// producer cannot make an inbox map without end. On the simulated device, whose time passes as the test says.
import t from 'tap';
import type { PortDevice, PortQueuePair } from '../../src/ts/ring/port.js';
import { type MemoryOwner, RemoteMemory } from '../../src/ts/ring/remote-memory.js';
import { thrownCode } from './support.js';
import { twoSides } from '../sim/two-sides.js';

function setUp() {
  const { near, far, world } = twoSides({ copier: 'process' });
  const remote = new RemoteMemory(near.device, near.process.clock);
  const owner: { name: string; lane: MemoryOwner['lane'] } = { name: 'p', lane: near };
  const { address: segmentAddress, rkey, length: segmentBytes } = far.region;
  const reference = (segment = 1, at = 0, length = 64) => {
    return { address: segmentAddress + at, rkey, length, segment, segmentAddress, segmentBytes };
  };
  const pass = async (ms: number) => {
    let passed = false;
    world.scheduler.add(ms, undefined, false, () => {
      passed = true;
    });
    await world.scheduler.run(() => passed, Number.POSITIVE_INFINITY);
  };
  return { remote, owner, reference, pass, near, far, segmentBytes, world };
}

void t.test('what is held stays mapped, what is not goes some seconds later', async (t) => {
  const { remote, owner, reference, pass, segmentBytes, world } = setUp();
  const one = remote.hold(owner, reference())!;
  t.equal(remote.hold(owner, reference(1, 64)), one);
  t.equal(remote.mappedBytes, segmentBytes);
  const view = one.view(reference(1, 64, 10));
  t.equal(view.length, 10);
  remote.letGo(one);
  await pass(60_000);
  t.equal(view.length, 10, 'one message holds it still');
  remote.letGo(one);
  await pass(4000);
  t.equal(remote.hold(owner, reference()), one, 'found again in time');
  remote.letGo(one);
  await pass(4000);
  t.equal(remote.mappedBytes, segmentBytes);
  await pass(8000);
  t.equal(remote.mappedBytes, 0);
  t.equal(view.length, 0);
  const { steps } = world.scheduler;
  await pass(60_000);
  t.equal(world.scheduler.steps, steps + 1, 'nothing is mapped, nothing ticks');
  t.not(remote.hold(owner, reference()), one, 'mapped again when it is needed');
  remote.close();
});

void t.test('of a producer that is gone nothing unused stays, and nothing new is mapped', async (t) => {
  const { remote, owner, reference, segmentBytes } = setUp();
  const [held, unused] = [remote.hold(owner, reference(1))!, remote.hold(owner, reference(2))!];
  remote.letGo(unused);
  t.equal(remote.mappedBytes, 2 * segmentBytes);
  owner.lane = undefined;
  remote.laneEnded(owner);
  t.equal(remote.mappedBytes, segmentBytes);
  t.equal(remote.hold(owner, reference(1)), held, 'what is there can be looked at');
  remote.letGo(held);
  t.equal(
    thrownCode(() => remote.hold(owner, reference(2))),
    'RDMA_ERR_PEER_GONE',
  );
  remote.letGo(held);
  t.equal(remote.mappedBytes, 0);
});

void t.test('the number of a segment tells it from another one under the same key', async (t) => {
  const { remote, owner, reference, far } = setUp();
  far.bytes[0] = 1;
  const old = remote.hold(owner, reference(1))!;
  remote.letGo(old);
  // The producer gives the memory back, and gets other memory with the same key at the same address.
  far.region.deregister();
  far.region.close();
  const again = far.domain.registerMemory({ bytes: far.region.length, access: far.region.access });
  t.equal(again.rkey, far.region.rkey);
  t.equal(again.address, far.region.address);
  new Uint8Array(again.buffer)[0] = 2;
  const young = remote.hold(owner, reference(2))!;
  t.equal(young.view(reference(2))[0], 2);
  t.equal(old.view(reference(1))[0], 1);
  remote.close();
  t.equal(
    thrownCode(() => remote.hold(owner, reference(2))),
    'RDMA_ERR_CLOSED',
  );
  remote.letGo(young);
});

void t.test('of a producer that names ever more segments unused ones go, and held ones are the limit', async (t) => {
  const { clock } = setUp().near.process;
  let mapped = 0;
  const mapRemote = () => {
    mapped++;
    return { buffer: new ArrayBuffer(64), close: () => void mapped-- };
  };
  const device = { allocateProtectionDomain: () => ({ close: () => {} }) } as unknown as PortDevice;
  const remote = new RemoteMemory(device, clock);
  const owner = { name: 'p', lane: { qp: { mapRemote, closed: false } as unknown as PortQueuePair } };
  const numbers = { address: 4096, rkey: 1, length: 64, segmentAddress: 4096, segmentBytes: 64 };
  const hold = (segment: number) => remote.hold(owner, { ...numbers, segment })!;
  remote.letGo(hold(1));
  for (let segment = 2; segment <= 1025; segment++) hold(segment);
  t.equal(mapped, 1024);
  t.equal(
    thrownCode(() => hold(1)),
    'RDMA_ERR_BUSY',
  );
  t.equal(mapped, 1024);
  remote.close();
  t.equal(mapped, 0);
  t.equal(remote.mappedBytes, 0);
});
