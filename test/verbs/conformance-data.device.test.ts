// Proves, on soft0 and on rxe0 alike, that work requests which are right do what verbs says: the bytes arrive where
// they were sent, exactly those, and completions come for what asked for them, in order.
import t from 'tap';
import {
  CompletionFlags,
  CompletionOpcode,
  CompletionStatus,
  mtuBytes,
  SendFlags,
  WorkOpcode,
} from '../../src/ts/verbs/index.js';
import { fill, isFilled, isSoft, openPair, openSide, take, takeOne } from './support.js';

const { SIGNALED, INLINE } = SendFlags;
const { SUCCESS } = CompletionStatus;
const large = isSoft ? 8 << 20 : 1 << 20;

void t.test('a WRITE stores exactly its bytes at the peer, and only the sender hears of it', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  fill(a.bytes, 1);
  a.qp.sends.write(0, 7, SIGNALED, b.mr.address + 100, b.mr.rkey, a.mr.address + 10, 1000, a.mr.lkey);
  t.equal(a.qp.postSend(1), 1);
  const wc = await takeOne(a.cq);
  t.match(wc, { wrId: 7, status: SUCCESS, opcode: CompletionOpcode.WRITE, qpNum: a.qp.qpNum, byteLength: 0, flags: 0 });
  t.same(Buffer.compare(b.bytes.subarray(100, 1100), a.bytes.subarray(10, 1010)), 0);
  t.ok(b.bytes.subarray(0, 100).every((byte) => byte === 0) && b.bytes.subarray(1100).every((byte) => byte === 0));
  t.equal(b.cq.poll(), 0);
});

void t.test('a WRITE_WITH_IMM also consumes a receive and brings the immediate, all 32 bits of it', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  fill(a.bytes, 2);
  b.qp.receives.empty(0, 50);
  b.qp.postReceive(1);
  a.qp.sends.writeWithImm(0, 8, SIGNALED, 0xfedcba98, b.mr.address, b.mr.rkey, a.mr.address, 5000, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(b.cq), {
    wrId: 50,
    status: SUCCESS,
    opcode: CompletionOpcode.RECEIVE_WITH_IMM,
    imm: 0xfedcba98,
    flags: CompletionFlags.WITH_IMM,
    byteLength: 5000,
    qpNum: b.qp.qpNum,
  });
  t.ok(isFilled(b.bytes.subarray(0, 5000), 2), 'the bytes were there before the completion');
  t.match(await takeOne(a.cq), { wrId: 8, status: SUCCESS, opcode: CompletionOpcode.WRITE });
});

void t.test('a READ brings exactly the bytes asked for', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  fill(b.bytes, 3);
  a.qp.sends.read(0, 9, SIGNALED, b.mr.address + 256, b.mr.rkey, a.mr.address + 64, 3000, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { wrId: 9, status: SUCCESS, opcode: CompletionOpcode.READ, byteLength: 3000 });
  t.same(Buffer.compare(a.bytes.subarray(64, 3064), b.bytes.subarray(256, 3256)), 0);
  t.ok(a.bytes.subarray(0, 64).every((byte) => byte === 0) && a.bytes.subarray(3064).every((byte) => byte === 0));
  t.equal(b.cq.poll(), 0);
});

void t.test(
  'SENDs go into receives in the order of posting; the immediate comes only with SEND_WITH_IMM',
  async (t) => {
    using pair = openPair();
    const { a, b } = pair;
    fill(a.bytes, 4);
    b.qp.receives.into(0, 60, b.mr.address, 4096, b.mr.lkey);
    b.qp.receives.into(1, 61, b.mr.address + 4096, 4096, b.mr.lkey);
    b.qp.postReceive(2);
    a.qp.sends.send(0, 1, SIGNALED, a.mr.address, 2500, a.mr.lkey);
    a.qp.sends.sendWithImm(1, 2, SIGNALED, 77, a.mr.address, 4096, a.mr.lkey);
    a.qp.postSend(2);
    const [first, second] = await take(b.cq, 2);
    const received = { status: SUCCESS, opcode: CompletionOpcode.RECEIVE };
    t.match(first, { ...received, wrId: 60, byteLength: 2500, flags: 0, imm: 0 });
    t.match(second, { ...received, wrId: 61, byteLength: 4096, flags: CompletionFlags.WITH_IMM, imm: 77 });
    t.ok(isFilled(b.bytes.subarray(0, 2500), 4));
    t.ok(isFilled(b.bytes.subarray(4096, 8192), 4));
    t.match(await take(a.cq, 2), [
      { wrId: 1, opcode: CompletionOpcode.SEND },
      { wrId: 2, opcode: CompletionOpcode.SEND },
    ]);
  },
);

void t.test('zero bytes work with every operation, with and without a piece, whatever the key', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  for (let i = 0; i < 4; i++) b.qp.receives.empty(i, i);
  b.qp.postReceive(4);
  const { sends } = a.qp;
  sends.write(0, 1, SIGNALED, 0, 0, a.mr.address, 0, a.mr.lkey);
  sends.set(1, WorkOpcode.WRITE, 2, SIGNALED, 0, b.mr.address, b.mr.rkey, []);
  sends.set(2, WorkOpcode.WRITE_WITH_IMM, 3, SIGNALED, 33, 0, 0, []);
  sends.set(3, WorkOpcode.SEND, 4, SIGNALED, 0, 0, 0, []);
  sends.sendWithImm(4, 5, SIGNALED, 55, a.mr.address, 0, a.mr.lkey);
  sends.read(5, 6, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 0, a.mr.lkey);
  a.qp.postSend(6);
  const done = await take(a.cq, 6);
  t.same(
    done.map((wc) => [wc.wrId, wc.status]),
    [1, 2, 3, 4, 5, 6].map((wrId) => [wrId, SUCCESS]),
  );
  const got = await take(b.cq, 3);
  t.same(
    got.map((wc) => [wc.wrId, wc.status, wc.byteLength, wc.imm]),
    [
      [0, SUCCESS, 0, 33],
      [1, SUCCESS, 0, 0],
      [2, SUCCESS, 0, 55],
    ],
  );
});

void t.test('up to four pieces are gathered and scattered, in WRITE, READ and SEND', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  fill(a.bytes, 5);
  const lengths = [1, 1500, 0, 4099];
  const pieces = (side: typeof a, base: number) =>
    lengths.map((length, i) => ({ address: side.mr.address + base + i * 8192, length, lkey: side.mr.lkey }));
  const total = lengths.reduce((sum, n) => sum + n, 0);
  const gathered = Buffer.concat(lengths.map((length, i) => a.bytes.subarray(i * 8192, i * 8192 + length)));
  a.qp.sends.set(0, WorkOpcode.WRITE, 1, SIGNALED, 0, b.mr.address + 40000, b.mr.rkey, pieces(a, 0));
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { status: SUCCESS });
  t.same(Buffer.compare(b.bytes.subarray(40000, 40000 + total), gathered), 0, 'WRITE gathers');

  b.qp.receives.set(0, 2, pieces(b, 0));
  b.qp.postReceive(1);
  a.qp.sends.set(0, WorkOpcode.SEND, 3, SIGNALED, 0, 0, 0, pieces(a, 0));
  a.qp.postSend(1);
  t.match(await takeOne(b.cq), { status: SUCCESS, byteLength: total });
  await takeOne(a.cq);
  lengths.forEach((length, i) => {
    t.same(
      Buffer.compare(b.bytes.subarray(i * 8192, i * 8192 + length), a.bytes.subarray(i * 8192, i * 8192 + length)),
      0,
    );
  });

  a.bytes.fill(0);
  a.qp.sends.set(0, WorkOpcode.READ, 4, SIGNALED, 0, b.mr.address + 40000, b.mr.rkey, pieces(a, 100));
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { status: SUCCESS, byteLength: total });
  const scattered = lengths.map((length, i) => a.bytes.subarray(100 + i * 8192, 100 + i * 8192 + length));
  t.same(Buffer.compare(Buffer.concat(scattered), gathered), 0, 'READ scatters');
});

void t.test('an unsignaled request completes silently; the next signaled one vouches for it', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  fill(a.bytes, 6);
  a.qp.sends.write(0, 1, 0, b.mr.address, b.mr.rkey, a.mr.address, 4000, a.mr.lkey);
  a.qp.sends.write(1, 2, SIGNALED, b.mr.address + 4000, b.mr.rkey, a.mr.address + 4000, 4000, a.mr.lkey);
  a.qp.postSend(2);
  t.match(await takeOne(a.cq), { wrId: 2, status: SUCCESS });
  t.ok(isFilled(b.bytes.subarray(0, 8000), 6));
  t.equal(a.cq.poll(), 0);
});

void t.test('signalAll makes every request signaled', async (t) => {
  using pair = openPair({ signalAll: true });
  const { a, b } = pair;
  for (let i = 0; i < 3; i++) a.qp.sends.write(i, i, 0, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(3);
  t.same(
    (await take(a.cq, 3)).map((wc) => wc.wrId),
    [0, 1, 2],
  );
});

void t.test('inline data is taken at posting: the memory may be changed at once', async (t) => {
  using pair = openPair({ maxInlineData: 64 });
  const { a, b } = pair;
  t.ok(a.qp.capabilities.maxInlineData >= 64, 'granted');
  for (let i = 0; i < 8; i++) {
    a.bytes.fill(i + 1, 0, 64);
    const flags = INLINE | (i === 7 ? SIGNALED : 0);
    a.qp.sends.write(0, i, flags, b.mr.address + i * 64, b.mr.rkey, a.mr.address, 64, a.mr.lkey);
    a.qp.postSend(1);
    a.bytes.fill(0xee, 0, 64);
  }
  t.match(await takeOne(a.cq), { wrId: 7, status: SUCCESS });
  for (let i = 0; i < 8; i++) t.ok(b.bytes.subarray(i * 64, i * 64 + 64).every((byte) => byte === i + 1));
});

void t.test('large WRITEs and READs arrive whole', async (t) => {
  using pair = openPair({ bytes: large });
  const { a, b } = pair;
  fill(a.bytes, 7);
  a.qp.sends.write(0, 1, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, large, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { wrId: 1, status: SUCCESS });
  t.ok(Buffer.from(b.mr.buffer).equals(Buffer.from(a.mr.buffer)), 'WRITE');
  a.bytes.fill(0);
  a.qp.sends.read(0, 2, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, large, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { wrId: 2, status: SUCCESS, byteLength: large });
  t.ok(isFilled(a.bytes, 7), 'READ');
});

void t.test('the port says what the device is, and its address names it', async (t) => {
  const { device, address } = openSide();
  const port = device.queryPort(1);
  t.equal(port.state, 4);
  t.ok(mtuBytes(port.activeMtu) >= 256 && mtuBytes(port.activeMtu) <= 4096);
  t.ok(port.maxMessageBytes >= large);
  t.match(address.gid, /^[0-9a-f]{32}$/);
  t.equal(address.type, isSoft ? 'soft' : 'RoCE v2');
  t.ok(
    device.queryGidTable().every((entry) => !/^0*$/.test(entry.gid)),
    'no empty entries',
  );
  t.throws(() => device.queryPort(200), { code: 'EINVAL' });
  device.close();
});
