// The steps of an object's life, one on top of the other, for the tests of endings.
import { AccessFlags, Device, nextRkey, pathTo, QpType, SendFlags } from '../../src/ts/verbs/index.js';
import { deviceName, FULL_ACCESS } from './support.js';

export const steps = [
  'load',
  'device',
  'watched',
  'domain',
  'memory',
  'window',
  'handle',
  'channel',
  'queue',
  'shared',
  'pair',
  'datagram',
  'init',
  'receive',
  'send',
  'posted',
  'addressed',
  'bound',
  'armed',
  'event',
  'dying',
] as const;
export type StepName = (typeof steps)[number];

const { SIGNALED } = SendFlags;
const QKEY = 7;

/** Makes everything up to and including `last`; answers the device, and a function that posts more work. */
export function climb(last: string): { device?: Device; work: () => void } {
  const upTo = steps.indexOf(last as StepName);
  if (upTo < 0) throw new Error(`no step ${last}`);
  const reached = (name: StepName) => steps.indexOf(name) <= upTo;
  const nothing = { work: () => undefined };
  if (!reached('device')) return nothing;
  const device = Device.open(deviceName);
  if (reached('watched')) device.onAsyncEvent(() => undefined);
  if (!reached('domain')) return { device, ...nothing };
  const pd = device.allocateProtectionDomain();
  if (!reached('memory')) return { device, ...nothing };
  const mr = pd.registerMemory({ bytes: 4 << 20, access: FULL_ACCESS | AccessFlags.MW_BIND });
  if (!reached('window')) return { device, ...nothing };
  const window = pd.allocateMemoryWindow();
  if (!reached('handle')) return { device, ...nothing };
  const address = device.portAddress();
  const handle = pd.createAddressHandle(pathTo(address, address));
  if (!reached('channel')) return { device, ...nothing };
  const channel = device.createCompletionChannel(() => undefined);
  if (!reached('queue')) return { device, ...nothing };
  const cq = device.createCompletionQueue(512, channel);
  if (!reached('shared')) return { device, ...nothing };
  const srq = pd.createSharedReceiveQueue({ maxWr: 32 });
  if (!reached('pair')) return { device, ...nothing };
  // Connected to itself: both ends die at once. A second one has a peer that never answers, so that its work waits.
  const qp = pd.createQueuePair({ sendCq: cq, maxSendWr: 256, sharedReceiveQueue: srq });
  const waiting = pd.createQueuePair({ sendCq: cq });
  if (!reached('datagram')) return { device, ...nothing };
  const datagram = pd.createQueuePair({ sendCq: cq, type: QpType.UD });
  datagram.activate(address, QKEY);
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
      qp.sends.write(i, i, SIGNALED, mr.address + (2 << 20), mr.rkey, mr.address, 2 << 20, mr.lkey);
    }
    try {
      qp.postSend(16);
    } catch (error) {
      if ((error as { code?: string }).code !== 'RDMA_ERR_QUEUE_FULL') throw error;
    }
  };
  if (reached('posted')) {
    for (let i = 0; i < 8; i++) srq.receives.into(i, i, mr.address, 64, mr.lkey);
    srq.postReceive(8);
    waiting.sends.write(0, 99, SIGNALED, mr.address, mr.rkey, mr.address, 8, mr.lkey);
    waiting.postSend(1);
    work();
  }
  if (reached('addressed')) {
    datagram.receives.into(0, 1, mr.address, 64, mr.lkey);
    datagram.postReceive(1);
    datagram.sends.send(0, 2, SIGNALED, mr.address + 64, 8, mr.lkey);
    datagram.sends.to(0, handle.number, datagram.qpNum, QKEY);
    datagram.postSend(1);
  }
  if (reached('bound')) {
    const key = nextRkey(window.rkey);
    const { REMOTE_WRITE } = AccessFlags;
    qp.sends.bindWindow(0, 3, SIGNALED, window.number, window.rkey, key, mr.lkey, mr.address, 4096, REMOTE_WRITE);
    qp.postSend(1);
  }
  if (reached('armed')) cq.requestNotify();
  if (reached('event')) {
    // The first message takes the shared queue below its limit.
    srq.modify({ limit: 8 });
    qp.sends.send(0, 4, SIGNALED, mr.address, 8, mr.lkey);
    qp.postSend(1);
  }
  // Everything outstanding is flushed, and an event names the last receive of the shared queue.
  if (reached('dying')) qp.toError();
  return { device, work };
}
