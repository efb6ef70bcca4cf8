// Proves that a peer's memory can be mapped where memory is shared, only with its permission, and that revoking it is
// final: what the peer stores afterwards is not seen.
import t from 'tap';
import { AccessFlags, crc32cOf, Device, type QueuePair } from '../../src/ts/verbs/index.js';
import { deviceName } from './support.js';

const SHARED = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_MAP;
const codeOf = (call: () => unknown) => {
  try {
    call();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'nothing thrown';
};

function pair(device: Device): { a: QueuePair; b: QueuePair } {
  const cq = device.createCompletionQueue(16);
  const port = device.portAddress();
  const [a, b] = [1, 2].map(() => device.allocateProtectionDomain().createQueuePair({ sendCq: cq })) as [
    QueuePair,
    QueuePair,
  ];
  a.connect(port, b.endpoint(port));
  b.connect(port, a.endpoint(port), { access: AccessFlags.REMOTE_WRITE });
  return { a, b };
}

void t.test('a peer is seen in its own pages, until it revokes them', { skip: deviceName !== 'soft0' }, async (t) => {
  using device = Device.open(deviceName);
  const { a, b } = pair(device);
  const region = b.protectionDomain.registerMemory({ bytes: 10_000, access: SHARED });
  const mapping = a.mapRemote(region.address + 64, region.rkey, 9000);
  t.equal(mapping.buffer.byteLength, 9000);
  const theirs = new Uint8Array(mapping.buffer);
  theirs[5] = 77;
  t.equal(region.bytes[69], 77, 'the owner sees the store');
  region.deregister();
  t.equal(region.bytes[69], 77, 'the owner keeps what was there');
  theirs[5] = 78;
  t.equal(region.bytes[69], 77, 'and sees nothing of what comes later');
  region.bytes[69] = 1;
  t.equal(theirs[5], 78, 'nor is it seen');
  region.close();
  a.close();
  t.equal(theirs[5], 78, 'the mapping outlives region and queue pair');
  mapping.close();
  t.equal(theirs.length, 0, 'and is detached when it is closed');
});

void t.test('nothing is mapped without permission', { skip: deviceName !== 'soft0' }, async (t) => {
  using device = Device.open(deviceName);
  const { a, b } = pair(device);
  const pd = b.protectionDomain;
  const closed = pd.registerMemory({ bytes: 4096, access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE });
  const open = pd.registerMemory({ bytes: 4096, access: SHARED });
  const foreign = device.allocateProtectionDomain().registerMemory({ bytes: 4096, access: SHARED });
  t.equal(
    codeOf(() => a.mapRemote(closed.address, closed.rkey, 4096)),
    'EACCES',
    'the right is missing',
  );
  t.equal(
    codeOf(() => a.mapRemote(foreign.address, foreign.rkey, 4096)),
    'EACCES',
    'another domain',
  );
  t.equal(
    codeOf(() => a.mapRemote(open.address, (open.rkey ^ 1) >>> 0, 4096)),
    'EACCES',
    'another key',
  );
  t.equal(
    codeOf(() => a.mapRemote(open.address, open.rkey, 4097)),
    'EACCES',
    'beyond the end',
  );
  t.equal(
    codeOf(() => a.mapRemote(open.address - 1, open.rkey, 2)),
    'EACCES',
    'before the begin',
  );
  t.equal(
    codeOf(() => a.mapRemote(open.address, open.rkey, 0)),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
  open.deregister();
  t.equal(
    codeOf(() => a.mapRemote(open.address, open.rkey, 4096)),
    'EACCES',
    'revoked',
  );
  a.toError();
  t.equal(
    codeOf(() => a.mapRemote(closed.address, closed.rkey, 4096)),
    'EINVAL',
    'not ready to send',
  );
  t.equal(
    codeOf(() => pd.registerMemory({ buffer: new Uint8Array(64), access: SHARED })),
    'ENOTSUP',
  );
  const readable = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_MAP;
  t.equal(
    codeOf(() => pd.registerMemory({ bytes: 64, access: readable })),
    'EINVAL',
    'only together with WRITE',
  );
});

void t.test('a mapping is handed on', { skip: deviceName !== 'soft0' }, async (t) => {
  // Each as a process of its own would have it.
  using owner = Device.open(deviceName);
  using middle = Device.open(deviceName);
  using last = Device.open(deviceName);
  const join = (near: Device, far: Device) => {
    const [a, b] = [near, far].map((device) =>
      device.allocateProtectionDomain().createQueuePair({ sendCq: device.createCompletionQueue(16) }),
    ) as [QueuePair, QueuePair];
    a.connect(near.portAddress(), b.endpoint(far.portAddress()));
    b.connect(far.portAddress(), a.endpoint(near.portAddress()), { access: AccessFlags.REMOTE_WRITE });
    return { a, b };
  };
  const first = join(middle, owner);
  const second = join(last, middle);
  const region = first.b.protectionDomain.registerMemory({ bytes: 10_000, access: SHARED });
  region.bytes[9000] = 9;
  const mapping = first.a.mapRemote(region.address + 64, region.rkey, 9500, middle.allocateProtectionDomain());
  const onward = second.b.protectionDomain.registerMapping(mapping, SHARED);
  t.equal(onward.buffer, mapping.buffer);
  t.equal(onward.byteLength, 9500);
  const there = second.a.mapRemote(onward.address, onward.rkey, 9500);
  const theirs = new Uint8Array(there.buffer);
  t.equal(theirs[9000 - 64], 9);
  region.bytes[9001] = 10;
  t.equal(theirs[9001 - 64], 10, 'they are the same pages');
  owner.close();
  t.equal(theirs[9000 - 64], 9, 'which stay when their owner is gone');
  const late = second.a.mapRemote(onward.address + 8936, onward.rkey, 1);
  t.equal(new Uint8Array(late.buffer)[0], 9);
  t.equal(
    codeOf(() => second.b.protectionDomain.registerMapping({} as never)),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
  t.equal(
    codeOf(() => second.b.protectionDomain.registerMapping(mapping, AccessFlags.REMOTE_WRITE)),
    'EINVAL',
  );
  mapping.close();
  t.ok(onward.closed, 'the region ends with the mapping');
  t.equal(theirs[9000 - 64], 9, 'not with whoever has mapped it');
  t.equal(
    codeOf(() => second.a.mapRemote(onward.address, onward.rkey, 64)),
    'EACCES',
  );
  t.equal(
    codeOf(() => second.b.protectionDomain.registerMapping(mapping)),
    'RDMA_ERR_CLOSED',
  );
});

void t.test('a device without shared memory says that it has none', { skip: deviceName === 'soft0' }, async (t) => {
  using device = Device.open(deviceName);
  const { a, b } = pair(device);
  t.equal(
    codeOf(() => b.protectionDomain.registerMemory({ bytes: 64, access: SHARED })),
    'ENOTSUP',
  );
  const region = b.protectionDomain.registerMemory({ bytes: 64, access: 3 });
  t.equal(
    codeOf(() => a.mapRemote(region.address, region.rkey, 64)),
    'ENOTSUP',
  );
  using soft = Device.open('soft0');
  const peers = pair(soft);
  const theirs = peers.b.protectionDomain.registerMemory({ bytes: 64, access: SHARED });
  const mapping = peers.a.mapRemote(theirs.address, theirs.rkey, 64);
  t.equal(
    codeOf(() => b.protectionDomain.registerMapping(mapping)),
    'ENOTSUP',
  );
});

void t.test('the checksum of memory is CRC-32C', async (t) => {
  const digits = Buffer.from('xx123456789y');
  t.equal(crc32cOf(digits, 2, 9), 0xe3069283, 'the check value of the polynomial');
  t.equal(crc32cOf(new Uint8Array(32)), 0x8a9136aa, 'RFC 3720 B.4: 32 bytes of zeros');
  t.equal(crc32cOf(new Uint8Array(32).fill(255)), 0x62a8ab43, 'RFC 3720 B.4: 32 bytes of ones');
  t.equal(crc32cOf(new Uint8Array(0)), 0);
  t.equal(
    codeOf(() => crc32cOf(digits, 5, 8)),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
});
