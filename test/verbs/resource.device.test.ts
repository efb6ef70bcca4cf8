// Proves the life cycle of every object: children are closed before their parents, a second close does nothing, use
// after close is RDMA_ERR_CLOSED, and memory that JavaScript still holds is detached and never dangling.
import t from 'tap';
import {
  type AddressHandle,
  type CompletionChannel,
  CompletionStatus,
  Device,
  type MemoryWindow,
  pathTo,
  SendFlags,
  type SharedReceiveQueue,
} from '../../src/ts/verbs/index.js';
import { codeOf, deviceName, FULL_ACCESS, openPair, openSide, type Side, take } from './support.js';

type All = Side & { channel: CompletionChannel; srq: SharedReceiveQueue; ah: AddressHandle; mw: MemoryWindow };

function openAll(): All {
  const side = openSide();
  const { device, pd, qp, address } = side;
  const channel = device.createCompletionChannel(() => undefined);
  return {
    ...side,
    channel,
    srq: pd.createSharedReceiveQueue(),
    ah: pd.createAddressHandle(pathTo(address, qp.endpoint(address))),
    mw: pd.allocateMemoryWindow(),
  };
}

/** Everything that can be asked of each object. */
const uses: Record<string, (all: All) => (() => unknown)[]> = {
  device: ({ device }) => [
    () => device.queryPort(),
    () => device.queryGidTable(),
    () => device.portAddress(),
    () => device.allocateProtectionDomain(),
    () => device.createCompletionChannel(() => undefined),
    () => device.createCompletionQueue(8),
    () => device.onAsyncEvent(() => undefined),
  ],
  pd: ({ pd, cq }) => [
    () => pd.registerMemory({ bytes: 8 }),
    () => pd.createQueuePair({ sendCq: cq }),
    () => pd.createSharedReceiveQueue(),
    () => pd.createAddressHandle({ destGid: '0'.repeat(32) }),
    () => pd.allocateMemoryWindow(),
  ],
  mr: ({ mr }) => [() => mr.deregister(), () => mr.reregister({ access: 1 })],
  mw: ({ mw }) => [() => mw.raw],
  ah: ({ ah }) => [() => ah.raw],
  srq: ({ srq }) => [() => srq.postReceive(1), () => srq.query(), () => srq.modify({ limit: 1 })],
  channel: ({ channel }) => [() => channel.keepAlive(true)],
  cq: ({ cq }) => [() => cq.poll(), () => cq.requestNotify(), () => cq.resize(8)],
  qp: ({ qp, address }) => [
    () => qp.postSend(1),
    () => qp.postReceive(1),
    () => qp.postSend(0),
    () => qp.query(),
    () => qp.modify({ state: 0 }),
    () => qp.toInit(address),
    () => qp.toError(),
  ],
};

const names = Object.keys(uses);

for (const name of names) {
  void t.test(`${name}: closing twice is fine, and every use afterwards is RDMA_ERR_CLOSED`, async (t) => {
    const all = openAll();
    const object = all[name as 'pd'];
    t.equal(object.closed, false);
    object.close();
    object.close();
    t.equal(object.closed, true);
    for (const use of uses[name]!(all)) t.equal(codeOf(use), 'RDMA_ERR_CLOSED', String(use));
    all.device.close();
  });
}

void t.test('closing a device closes everything below it, youngest first', async (t) => {
  const all = openAll();
  all.device.close();
  for (const name of names) t.equal(all[name as 'pd'].closed, true, name);
});

void t.test('closing any parent closes exactly what hangs on it', async (t) => {
  const hangs: Record<string, string[]> = {
    pd: ['mr', 'mw', 'ah', 'srq', 'qp'],
    cq: ['qp'],
    mr: [],
    qp: [],
    channel: [],
  };
  for (const [name, children] of Object.entries(hangs)) {
    const all = openAll();
    all[name as 'pd'].close();
    for (const other of names) {
      t.equal(all[other as 'pd'].closed, other === name || children.includes(other), `${name} closed: ${other}`);
    }
    all.device.close();
  }
  const { device, channel } = openAll();
  const cq = device.createCompletionQueue(8, channel);
  channel.close();
  t.equal(cq.closed, true, 'a completion queue hangs on its channel');
  device.close();
});

void t.test('closed memory and rings are detached: length 0, and stores go nowhere', async (t) => {
  const { device, mr, qp, cq, bytes } = openAll();
  const words = new Float64Array(mr.buffer, 8, 4);
  device.close();
  t.equal(mr.buffer.byteLength, 0);
  t.equal(bytes.length, 0);
  t.equal(words.length, 0);
  words[0] = 1;
  t.equal(words[0], undefined);
  qp.sends.write(0, 1, 2, 3, 4, 5, 6, 7);
  qp.receives.into(0, 1, 2, 3, 4);
  t.equal(cq.completions.wrId(0), undefined);
});

void t.test('memory stays readable for its owner after deregister(), and is gone after close()', async (t) => {
  const { device, mr, bytes } = openSide();
  bytes[5] = 55;
  mr.deregister();
  mr.deregister();
  t.equal(bytes[5], 55);
  mr.close();
  t.equal(bytes.length, 0);
  device.close();
});

void t.test('`using` closes at the end of the block, also when that is left by an error', async (t) => {
  let kept: Device | undefined;
  t.throws(() => {
    using device = Device.open(deviceName);
    kept = device;
    using pd = device.allocateProtectionDomain();
    pd.registerMemory({ bytes: 8 });
    throw new Error('on purpose');
  }, /on purpose/);
  t.equal(kept?.closed, true);
});

for (const name of ['qp', 'cq', 'mr', 'pd', 'device'] as const) {
  void t.test(`closing ${name} in the middle of outstanding work is safe for both sides`, async (t) => {
    for (const which of ['a', 'b'] as const) {
      using pair = openPair({ bytes: 8 << 20 }, { timeout: 8, retryCount: 0 });
      const { a, b } = pair;
      for (let i = 0; i < 8; i++) {
        a.qp.sends.write(i, i, SendFlags.SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8 << 20, a.mr.lkey);
      }
      a.qp.postSend(8);
      pair[which][name].close();
      if (which === 'a' && name !== 'mr') continue;
      const all = await take(a.cq, 8);
      const failed = all.findIndex((wc) => wc.status !== CompletionStatus.SUCCESS);
      if (failed < 0) continue;
      t.ok(
        all.slice(failed + 1).every((wc) => wc.status === CompletionStatus.FLUSHED),
        `${which}: flushed after the first failure`,
      );
    }
    t.pass('both are alive');
  });
}

void t.test('wrong arguments are refused with words before anything is made', async (t) => {
  const { device, pd, cq } = openSide();
  const bad = 'RDMA_ERR_INVALID_ARGUMENT';
  for (const name of ['', 5, null, 'x'.repeat(100)])
    t.equal(
      codeOf(() => Device.open(name as string)),
      bad,
    );
  t.equal(
    codeOf(() => Device.open('no_such_device')),
    'RDMA_ERR_NO_DEVICE',
  );
  for (const capacity of [0, -1, 1.5, Number.NaN, 2 ** 40]) {
    t.equal(
      codeOf(() => device.createCompletionQueue(capacity)),
      bad,
    );
  }
  t.equal(
    codeOf(() => device.createCompletionQueue(8, {} as CompletionChannel)),
    bad,
  );
  t.equal(
    codeOf(() => device.createCompletionChannel(5 as unknown as () => void)),
    bad,
  );
  for (const bytes of [0, -1, 1.5, Number.NaN, 2 ** 47])
    t.equal(
      codeOf(() => pd.registerMemory({ bytes })),
      bad,
    );
  t.equal(
    codeOf(() => pd.registerMemory({ bytes: 8, access: 1 << 9 })),
    bad,
  );
  t.equal(
    codeOf(() => pd.registerMemory(undefined as never)),
    bad,
  );
  t.equal(
    codeOf(() => pd.registerMemory({ bytes: 8, access: 2 })),
    'EINVAL',
    'remote write without local write',
  );
  t.equal(
    codeOf(() => pd.registerMemory({ bytes: 2 ** 46, access: FULL_ACCESS })),
    'ENOMEM',
  );
  t.equal(
    codeOf(() => pd.createQueuePair({} as never)),
    bad,
  );
  for (const wrong of [{ maxSendWr: 0 }, { maxSendSge: 5 }, { maxInlineData: -1 }, { signalAll: 1 as never }]) {
    t.equal(
      codeOf(() => pd.createQueuePair({ sendCq: cq, ...wrong })),
      bad,
      JSON.stringify(wrong),
    );
  }
  t.equal(
    codeOf(() => pd.createQueuePair({ sendCq: cq, maxSendWr: 65536 })),
    device.attributes.maxQpWr < 65536 ? 'EINVAL' : 'none',
    'more than the device has',
  );
  device.close();
});
