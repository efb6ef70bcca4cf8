// Proves, on soft0 and on rxe0 alike, that a memory window opens exactly what it was bound to, to exactly the queue
// pair that it was bound on, until it is made invalid by either side, and what wrong binds and wrong keys end in.
import t from 'tap';
import {
  AccessFlags,
  CompletionOpcode as Opcode,
  CompletionStatus as Status,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import { codeOf, connectSides, FULL_ACCESS, isSoft, openPair, openSide, takeOne, type Side } from './support.js';

const { SIGNALED } = SendFlags;
const bindable = FULL_ACCESS | AccessFlags.MW_BIND;
const next = (rkey: number) => ((rkey & 0xffffff00) | ((rkey + 1) & 0xff)) >>> 0;

interface Bind {
  from?: number;
  length?: number;
  access?: number;
  newKey?: number;
  lkey?: number;
}

function openWindow(pair: { a: Side; b: Side }) {
  const { b } = pair;
  const window = b.pd.allocateMemoryWindow();
  const bind = async ({
    from = 4096,
    length = 4096,
    access = 2,
    newKey = next(window.rkey),
    lkey = b.mr.lkey,
  }: Bind) => {
    const at = b.mr.address + from;
    b.qp.sends.bindWindow(0, 9, SIGNALED, window.number, window.rkey, newKey, lkey, at, length, access);
    b.qp.postSend(1);
    const wc = await takeOne(b.cq);
    if (wc.status === Status.SUCCESS) window.rkey = newKey;
    return wc;
  };
  return { window, bind };
}

async function write({ a, b }: { a: Side; b: Side }, rkey: number, from: number, length = 8) {
  a.bytes.fill(0xaa, 0, length);
  a.qp.sends.write(0, 1, SIGNALED, b.mr.address + from, rkey, a.mr.address, length, a.mr.lkey);
  a.qp.postSend(1);
  return (await takeOne(a.cq)).status;
}

void t.test('a bound window opens its part, and local invalidation closes it', async (t) => {
  using pair = openPair({ access: bindable });
  const { b } = pair;
  const { window, bind } = openWindow(pair);
  const first = window.rkey;
  t.match(await bind({}), { wrId: 9, status: Status.SUCCESS, opcode: Opcode.BIND_MW });
  t.not(window.rkey, first);
  t.equal(await write(pair, window.rkey, 4096), Status.SUCCESS);
  t.equal(await write(pair, window.rkey, 8191, 1), Status.SUCCESS, 'the last byte');
  t.equal(b.bytes[4096], 0xaa);
  b.qp.sends.localInvalidate(0, 10, SIGNALED, window.rkey);
  b.qp.postSend(1);
  t.match(await takeOne(b.cq), { wrId: 10, status: Status.SUCCESS, opcode: Opcode.LOCAL_INV });
  t.match(await bind({ from: 0, length: 16 }), { status: Status.SUCCESS }, 'it can be bound again');
  t.equal(await write(pair, window.rkey, 0), Status.SUCCESS);
  t.equal(await write(pair, first, 0), Status.REMOTE_ACCESS_ERROR, 'an old key opens nothing');
  window.close();
});

// Each test closes its window itself: rxe waits 50 s for a queue pair that has one bound.
// rxe of kernel 6.1 looks at the bounds of the region only.
const bounded = { skip: isSoft ? false : 'rxe does not check the bounds of a window' };
const outside: [string, number, number][] = [
  ['before the window', 4095, 8],
  ['beyond its end', 8185, 8],
];
for (const [name, from, length] of outside) {
  void t.test(`a WRITE ${name} is a remote access error`, bounded, async (t) => {
    using pair = openPair({ access: bindable });
    const { window, bind } = openWindow(pair);
    await bind({});
    t.equal(await write(pair, window.rkey, from, length), Status.REMOTE_ACCESS_ERROR);
    t.ok(pair.b.bytes.every((byte) => byte === 0));
  });
}

void t.test('a window has its own rights', async (t) => {
  using pair = openPair({ access: bindable });
  const { window, bind } = openWindow(pair);
  await bind({ access: AccessFlags.REMOTE_READ });
  t.equal(await write(pair, window.rkey, 4096), Status.REMOTE_ACCESS_ERROR);
  window.close();
});

void t.test('only the queue pair that it was bound on can use a window', async (t) => {
  using pair = openPair({ access: bindable });
  const { window, bind } = openWindow(pair);
  await bind({});
  const a = openSide();
  const b = { ...pair.b, qp: pair.b.pd.createQueuePair({ sendCq: pair.b.cq }) };
  connectSides(a, b);
  t.equal(await write({ a, b }, window.rkey, 4096), Status.REMOTE_ACCESS_ERROR);
  t.equal(await write(pair, window.rkey, 4096), Status.SUCCESS);
  a.device.close();
  window.close();
});

const wrongBinds: [string, Bind, number][] = [
  ['a region that does not allow it', {}, FULL_ACCESS],
  ['more than the region', { length: 65536 }, bindable],
  ['a start before the region', { from: -8, length: 8 }, bindable],
  ['rights to write in a region that is read-only here', {}, AccessFlags.REMOTE_READ | AccessFlags.MW_BIND],
];
for (const [name, wrong, access] of wrongBinds) {
  void t.test(`a bind with ${name} is a bind error`, async (t) => {
    using pair = openPair({ access });
    const { bind } = openWindow(pair);
    t.equal((await bind(wrong)).status, Status.MW_BIND_ERROR);
  });
}

void t.test('a window that is bound cannot be bound again, and its region not be deregistered', async (t) => {
  using pair = openPair({ access: bindable });
  const { window, bind } = openWindow(pair);
  await bind({});
  t.equal(
    codeOf(() => pair.b.mr.deregister()),
    'EINVAL',
  );
  t.equal(await write(pair, window.rkey, 4096), Status.SUCCESS, 'and goes on');
  t.equal((await bind({})).status, Status.MW_BIND_ERROR);
  window.close();
});

void t.test('the peer gives a window back with its SEND', async (t) => {
  using pair = openPair({ access: bindable });
  const { a, b } = pair;
  const { window, bind } = openWindow(pair);
  await bind({});
  b.qp.receives.into(0, 5, b.mr.address, 64, b.mr.lkey);
  b.qp.postReceive(1);
  a.qp.sends.sendWithInvalidate(0, 2, SIGNALED, window.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { wrId: 2, status: Status.SUCCESS });
  t.match(await takeOne(b.cq), { wrId: 5, status: Status.SUCCESS, imm: window.rkey });
  t.equal(b.cq.completions.flags(0) & 8, 8, 'with what was made invalid');
  t.equal((await bind({})).status, Status.SUCCESS, 'it can be bound at once');
  b.qp.sends.localInvalidate(0, 10, SIGNALED, window.rkey);
  b.qp.postSend(1);
  t.match(await takeOne(b.cq), { status: Status.SUCCESS });
  t.equal(await write(pair, window.rkey, 4096), Status.REMOTE_ACCESS_ERROR);
  window.close();
});

void t.test('a key that is no window of the peer is not invalidated, and a region is none', async (t) => {
  using pair = openPair({ access: bindable }, { timeout: 8, retryCount: 1 });
  const { a, b } = pair;
  b.qp.receives.into(0, 5, b.mr.address, 64, b.mr.lkey);
  b.qp.postReceive(1);
  a.qp.sends.sendWithInvalidate(0, 2, SIGNALED, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { wrId: 2, status: Status.SUCCESS }, 'the message has arrived');
  t.not((await takeOne(b.cq)).status, Status.SUCCESS, 'and the receiver gets an error');
  b.mr.deregister();

  using other = openPair({ access: bindable });
  other.b.qp.sends.localInvalidate(0, 3, SIGNALED, other.b.mr.rkey);
  other.b.qp.postSend(1);
  t.match(await takeOne(other.b.cq), { wrId: 3, status: Status.LOCAL_QP_OPERATION_ERROR });
});
