// Proves that memory of every kind can be registered and used by a peer, and that what a device or machine has not is
// refused with its reason.
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { AccessFlags } from '../../src/ts/verbs/index.js';
import { codeOf, connectSides, FULL_ACCESS, fill, isFilled, isSoft, openPair, openSide } from './support.js';

void t.test("a peer writes into a caller's own Buffer, and nowhere beside it", async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const whole = Buffer.alloc(20_000, 0xee);
  const part = whole.subarray(1000, 11_000);
  const region = b.pd.registerMemory({ buffer: part, access: FULL_ACCESS });
  t.equal(region.byteLength, 10_000);
  t.equal(region.buffer, whole.buffer);
  t.equal(region.bytes.byteOffset, part.byteOffset);
  fill(a.bytes, 3);
  await a.qp.operations.write(a.mr.piece(0, 10_000), { address: region.address, rkey: region.rkey });
  t.ok(isFilled(part, 3));
  t.ok(whole.subarray(0, 1000).every((byte) => byte === 0xee));
  t.ok(whole.subarray(11_000).every((byte) => byte === 0xee));
  fill(part, 8);
  await a.qp.operations.read(a.mr.piece(0, 10_000), { address: region.address, rkey: region.rkey });
  t.ok(isFilled(a.bytes.subarray(0, 10_000), 8));
  // Node.js 20 ignores the wish to transfer it, later ones refuse it.
  t.match(
    codeOf(() => structuredClone(whole.buffer, { transfer: [whole.buffer] })),
    /^(none|25)$/,
  );
  t.equal(whole.byteLength, 20_000, 'it cannot be transferred away');
  region.close();
  t.equal(region.bytes.byteLength, 0);
  t.equal(part[0], isFilled(part, 8) ? part[0] : -1, "the caller's memory is the caller's again");
});

void t.test("a caller's own Buffer is the source of a SEND", async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  // Of another realm, which is as good.
  const own = runInNewContext('new Uint8Array(3000)');
  fill(own, 12);
  const region = a.pd.registerMemory({ buffer: own });
  const arrival = b.qp.operations.receive(b.mr.piece(0, 4000));
  await a.qp.operations.send(region.piece());
  t.match(await arrival, { byteLength: 3000 });
  t.ok(isFilled(b.bytes.subarray(0, 3000), 12));
});

void t.test('huge pages: used where they are reserved, refused with the reason where not', async (t) => {
  const side = openSide();
  try {
    const region = side.pd.registerMemory({ bytes: 100_000, hugePageBytes: 2 << 20 });
    t.equal(region.byteLength, 100_000);
    t.equal(region.address % (2 << 20), 0);
    region.close();
  } catch (error) {
    t.match(error, { code: 'ENOMEM', message: /huge pages/ });
  }
  t.equal(
    codeOf(() => side.pd.registerMemory({ bytes: 1, hugePageBytes: 3 << 20 })),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
  side.device.close();
});

void t.test('what no device here has is refused with its errno', async (t) => {
  const side = openSide();
  const refused = /^(ENOTSUP|EOPNOTSUPP|EINVAL|EBADF|ENOSYS)$/;
  t.match(
    codeOf(() => side.pd.registerMemory({ dmabuf: { fd: 0, bytes: 4096 } })),
    refused,
  );
  const onDemand = AccessFlags.LOCAL_WRITE | AccessFlags.ON_DEMAND;
  const odp = codeOf(() => side.pd.registerMemory({ bytes: 4096, access: onDemand }));
  t.match(odp, side.device.attributes.odpCapabilities === 0 ? refused : /none/);
  // rxe of kernel 6.1 cannot.
  t.match(
    codeOf(() => side.mr.reregister({ access: AccessFlags.LOCAL_WRITE })),
    isSoft ? 'none' : /^(none|ENOTSUP|EOPNOTSUPP|EINVAL|EIO)$/,
  );
  side.device.close();
});

void t.test('a right that re-registration took away is gone', { skip: !isSoft && 'rxe cannot' }, async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const remote = { address: b.mr.address, rkey: b.mr.rkey };
  await a.qp.operations.write(a.mr.piece(0, 8), remote);
  b.mr.reregister({ access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_READ });
  t.equal(b.mr.rkey, remote.rkey);
  await a.qp.operations.read(a.mr.piece(0, 8), remote);
  await t.rejects(a.qp.operations.write(a.mr.piece(0, 8), remote), {
    code: 'RDMA_ERR_COMPLETION',
    message: /remote access error/,
  });
  const other = b.device.allocateProtectionDomain();
  b.mr.reregister({ protectionDomain: other });
  other.close();
  t.ok(b.mr.closed, 'it belongs to the domain that it moved to');
});

void t.test('relaxed ordering is taken by every device, used or not', async (t) => {
  const a = openSide({ access: FULL_ACCESS | AccessFlags.RELAXED_ORDERING });
  const b = openSide({ access: FULL_ACCESS | AccessFlags.RELAXED_ORDERING });
  connectSides(a, b);
  fill(a.bytes, 2);
  await a.qp.operations.write(a.mr.piece(), { address: b.mr.address, rkey: b.mr.rkey });
  t.ok(isFilled(b.bytes, 2));
  a.device.close();
  b.device.close();
});

void t.test('bad arguments are refused', async (t) => {
  const { device, pd, mr } = openSide();
  const bad = 'RDMA_ERR_INVALID_ARGUMENT';
  const all = (options: object) => codeOf(() => pd.registerMemory(options));
  t.equal(all({}), bad);
  t.equal(all({ bytes: 1, buffer: new Uint8Array(1) }), bad);
  t.equal(all({ buffer: new Uint8Array(0) }), bad);
  t.equal(all({ buffer: new Uint8Array(new SharedArrayBuffer(8)) }), bad);
  t.equal(all({ buffer: 'text' }), bad);
  t.equal(all({ bytes: 1, access: 1 << 9 }), bad);
  t.equal(all({ dmabuf: { fd: -1, bytes: 1 } }), bad);
  t.equal(
    codeOf(() => mr.piece(1, mr.byteLength)),
    bad,
  );
  t.equal(
    codeOf(() => mr.piece(-1)),
    bad,
  );
  t.same(mr.piece(8), { address: mr.address + 8, length: mr.byteLength - 8, lkey: mr.lkey });
  device.close();
});
