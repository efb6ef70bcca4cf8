// The steps of an object's life, one on top of the other, for the tests of endings.
import { Device, SendFlags } from '../../src/ts/verbs/index.js';
import { deviceName, FULL_ACCESS } from './support.js';

export const steps = [
  'load',
  'device',
  'domain',
  'memory',
  'channel',
  'queue',
  'pair',
  'init',
  'receive',
  'send',
  'posted',
  'armed',
] as const;
export type StepName = (typeof steps)[number];

/** Makes everything up to and including `last`; answers the device, and a function that posts more work. */
export function climb(last: string): { device?: Device; work: () => void } {
  const upTo = steps.indexOf(last as StepName);
  if (upTo < 0) throw new Error(`no step ${last}`);
  const reached = (name: StepName) => steps.indexOf(name) <= upTo;
  const nothing = { work: () => undefined };
  if (!reached('device')) return nothing;
  const device = Device.open(deviceName);
  if (!reached('domain')) return { device, ...nothing };
  const pd = device.allocateProtectionDomain();
  if (!reached('memory')) return { device, ...nothing };
  const mr = pd.registerMemory({ bytes: 4 << 20, access: FULL_ACCESS });
  if (!reached('channel')) return { device, ...nothing };
  const channel = device.createCompletionChannel(() => undefined);
  if (!reached('queue')) return { device, ...nothing };
  const cq = device.createCompletionQueue(512, channel);
  if (!reached('pair')) return { device, ...nothing };
  // Connected to itself: both ends die at once. A second one has a peer that never answers, so that its work waits.
  const qp = pd.createQueuePair({ sendCq: cq, maxSendWr: 256 });
  const waiting = pd.createQueuePair({ sendCq: cq });
  const address = device.portAddress();
  const peers = [
    { pair: qp, remote: qp.endpoint(address) },
    { pair: waiting, remote: { ...waiting.endpoint(address), qpNum: 0x3ff0 } },
  ];
  if (reached('init')) for (const { pair } of peers) pair.toInit(address, FULL_ACCESS);
  if (reached('receive')) for (const { pair, remote } of peers) pair.toReadyToReceive(address, remote);
  if (reached('send')) for (const { pair } of peers) pair.toReadyToSend({ timeout: 0 });
  const work = () => {
    while (cq.poll() > 0);
    // 32 MiB: more than the posting thread does itself, so the device's own thread is in the middle of it.
    for (let i = 0; i < 16; i++) {
      qp.sends.write(i, i, SendFlags.SIGNALED, mr.address + (2 << 20), mr.rkey, mr.address, 2 << 20, mr.lkey);
    }
    try {
      qp.postSend(16);
    } catch (error) {
      if ((error as { code?: string }).code !== 'RDMA_ERR_QUEUE_FULL') throw error;
    }
  };
  if (reached('posted')) {
    for (let i = 0; i < 8; i++) qp.receives.empty(i, i);
    qp.postReceive(8);
    waiting.sends.write(0, 99, SendFlags.SIGNALED, mr.address, mr.rkey, mr.address, 8, mr.lkey);
    waiting.postSend(1);
    work();
  }
  if (reached('armed')) cq.requestNotify();
  return { device, work };
}
