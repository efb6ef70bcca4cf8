// Two connected queue pairs of the simulated device, each in a process of its own. Not a test.
import { SeededChoices } from '../../src/ts/sim/choices.js';
import type { SimCompletionQueue } from '../../src/ts/sim/completion-queue.js';
import type { SimDevice, SimDomain } from '../../src/ts/sim/device.js';
import type { SimRegion } from '../../src/ts/sim/memory.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimQueuePair } from '../../src/ts/sim/queue-pair.js';
import { SimWorld, type WorldOptions } from '../../src/ts/sim/world.js';
import { AccessFlags } from '../../src/ts/verbs/index.js';

export interface Side {
  process: SimProcess;
  device: SimDevice;
  domain: SimDomain;
  cq: SimCompletionQueue;
  qp: SimQueuePair;
  region: SimRegion;
  bytes: Uint8Array;
  /** How often the channel has called. */
  events: number;
}

export interface TwoSides {
  world: SimWorld;
  near: Side;
  far: Side;
  /** Runs until nothing can happen any more, or so long. */
  settle(ms?: number): Promise<void>;
}

export const ALL =
  AccessFlags.LOCAL_WRITE |
  AccessFlags.REMOTE_WRITE |
  AccessFlags.REMOTE_READ |
  AccessFlags.REMOTE_ATOMIC |
  AccessFlags.REMOTE_MAP;
const QP_RIGHTS = AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_READ | AccessFlags.REMOTE_ATOMIC;

export interface SideOptions extends Partial<WorldOptions> {
  seed?: number;
  /** Rights of the far region. */
  access?: number;
  receives?: number;
  depth?: number;
}

export function twoSides(options: SideOptions = {}): TwoSides {
  const { seed = 1, access = ALL, receives = 8, depth = 8, ...rest } = options;
  const world = new SimWorld(new SeededChoices(seed), {
    copier: 'device',
    tearShare: 0,
    weakOrder: false,
    pollBatch: 16,
    oneWriter: true,
    ...rest,
  });
  const side = (name: string, rights: number): Side => {
    const process = world.process(name);
    const device = world.openDevice(process);
    const domain = device.allocateProtectionDomain();
    const made = { process, device, domain, events: 0 };
    const channel = device.createCompletionChannel(() => {
      result.events++;
    });
    const cq = device.createCompletionQueue(64, channel);
    const qp = domain.createQueuePair({ sendCq: cq, maxSendWr: depth, maxRecvWr: 64 }) as SimQueuePair;
    const region = domain.registerMemory({ bytes: 4096, access: rights }) as SimRegion;
    const result: Side = Object.assign(made, { cq, qp, region, bytes: new Uint8Array(region.buffer) });
    return result;
  };
  const near = side('near', ALL);
  const far = side('far', access);
  const nearAddress = near.device.portAddress();
  const farAddress = far.device.portAddress();
  for (const { qp, device } of [near, far]) qp.toInit(device.portAddress(), QP_RIGHTS);
  far.qp.postEmptyReceives(receives);
  near.qp.toReadyToReceive(nearAddress, far.qp.endpoint(farAddress));
  far.qp.toReadyToReceive(farAddress, near.qp.endpoint(nearAddress));
  near.qp.toReadyToSend();
  far.qp.toReadyToSend();
  const settle = async (ms = Number.POSITIVE_INFINITY) => {
    await world.scheduler.run(() => false, world.scheduler.nowMs + ms);
  };
  return { world, near, far, settle };
}

/** What waits in a completion queue, as status by number of the request. */
export function statuses({ cq }: Side): [number, number][] {
  const result: [number, number][] = [];
  for (let count = cq.poll(); count > 0; count = cq.poll()) {
    for (let i = 0; i < count; i++) result.push([cq.completions.wrId(i), cq.completions.status(i)]);
  }
  return result;
}
