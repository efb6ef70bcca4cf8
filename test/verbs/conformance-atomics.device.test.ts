// Proves, on soft0 and on rxe0 alike, that compare-and-swap and fetch-and-add do what verbs says, that nothing is lost
// among initiators that race, and that a wrong one ends in the status that verbs names and changes nothing.
import t from 'tap';
import {
  AccessFlags,
  CompletionOpcode as Opcode,
  CompletionStatus as Status,
  QpState,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import { codeOf, connectSides, FULL_ACCESS, isSoft, openPair, openSide, take, takeOne, until } from './support.js';

const { SIGNALED } = SendFlags;
const access = FULL_ACCESS | AccessFlags.REMOTE_ATOMIC;
type Pair = ReturnType<typeof openPair>;
const words = (bytes: Uint8Array) => new BigUint64Array(bytes.buffer);

function add({ a, b }: Pair, at: number, rkey = b.mr.rkey) {
  a.qp.sends.fetchAdd(0, 1, SIGNALED, at, rkey, 5n, a.mr.address, a.mr.lkey);
  a.qp.postSend(1);
}

void t.test('the old value comes back, in host byte order, and 64 bits wrap around', async (t) => {
  using pair = openPair({ access }, { access });
  const { a, b } = pair;
  const mine = words(a.bytes);
  const theirs = words(b.bytes);
  theirs[2] = 0xffff_ffff_ffff_fffen;
  add(pair, b.mr.address + 16);
  t.match(await takeOne(a.cq), { wrId: 1, status: Status.SUCCESS, opcode: Opcode.FETCH_ADD, byteLength: 8 });
  t.equal(mine[0], 0xffff_ffff_ffff_fffen);
  t.equal(theirs[2], 3n);
  const swap = (compare: bigint) => {
    a.qp.sends.compareSwap(0, 2, SIGNALED, b.mr.address + 16, b.mr.rkey, compare, 77n, a.mr.address + 8, a.mr.lkey);
    a.qp.postSend(1);
  };
  swap(4n);
  t.match(await takeOne(a.cq), { wrId: 2, status: Status.SUCCESS, opcode: Opcode.COMPARE_SWAP, byteLength: 8 });
  t.same([mine[1], theirs[2]], [3n, 3n], 'another value stays');
  swap(3n);
  await takeOne(a.cq);
  t.same([mine[1], theirs[2]], [3n, 77n], 'the expected one is replaced');
  t.same([theirs[1], theirs[3]], [0n, 0n], 'and its neighbours are not');
});

void t.test('two initiators that race add up', async (t) => {
  const rounds = isSoft ? 2000 : 100;
  const target = openSide({ access });
  const others = [openSide({ access }), openSide({ access })];
  const pairs = others.map((a) => {
    const b = { ...target, qp: target.pd.createQueuePair({ sendCq: target.cq }) };
    connectSides(a, b, { access });
    return { a, b } as Pair;
  });
  for (let i = 0; i < rounds; i++) {
    for (const pair of pairs) add(pair, target.mr.address);
    for (const { a } of pairs) t.equal((await takeOne(a.cq)).status, Status.SUCCESS);
  }
  t.equal(words(target.bytes)[0], BigInt(2 * 5 * rounds));
  for (const { device } of [target, ...others]) device.close();
});

const faults: [string, { region?: number; qp?: number; at?: number; wrongKey?: boolean }, number][] = [
  ['the right on the region', { region: FULL_ACCESS }, Status.REMOTE_ACCESS_ERROR],
  ['the right on the queue pair', { qp: FULL_ACCESS }, Status.REMOTE_INVALID_REQUEST],
  ['the key', { wrongKey: true }, Status.REMOTE_ACCESS_ERROR],
  ['eight bytes within the region', { at: 65536 }, Status.REMOTE_ACCESS_ERROR],
];
for (const [name, { region = access, qp = access, at = 0, wrongKey = false }, status] of faults) {
  void t.test(`without ${name} nothing changes and both sides stop`, async (t) => {
    using pair = openPair({ access: region }, { access: qp });
    const { a, b } = pair;
    add(pair, b.mr.address + at, wrongKey ? (b.mr.rkey ^ 0x100) >>> 0 : b.mr.rkey);
    t.match(await takeOne(a.cq), { wrId: 1, status });
    t.ok(b.bytes.every((byte) => byte === 0));
    t.equal(a.qp.query().state, QpState.ERROR);
    await until('the responder has stopped', () => b.qp.query().state === QpState.ERROR);
  });
}

void t.test('an address that is no multiple of 8 is refused', async (t) => {
  using pair = openPair({ access }, { access });
  const { a, b } = pair;
  // The user-space part of rxe refuses it before it is posted; a card, and soft0, answers it.
  const code = codeOf(() => add(pair, b.mr.address + 4));
  t.equal(code, isSoft ? 'none' : 'EINVAL');
  if (code === 'none') t.match(await takeOne(a.cq), { status: Status.REMOTE_INVALID_REQUEST });
  t.ok(b.bytes.every((byte) => byte === 0));
});

void t.test('local memory that may not be written ends it before anything changes', async (t) => {
  using pair = openPair({ access }, { access });
  const { a, b } = pair;
  const readOnly = a.pd.registerMemory({ bytes: 4096, access: 0 });
  a.qp.sends.fetchAdd(0, 1, SIGNALED, b.mr.address, b.mr.rkey, 5n, readOnly.address, readOnly.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { status: Status.LOCAL_PROTECTION_ERROR });
  // rxe has done it by the time it looks at where the answer goes.
  if (isSoft) t.ok(b.bytes.every((byte) => byte === 0));
});

void t.test('atomics keep their order among WRITEs and READs', async (t) => {
  using pair = openPair({ access }, { access });
  const { a, b } = pair;
  words(a.bytes)[0] = 40n;
  a.qp.sends.write(0, 1, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.sends.fetchAdd(1, 2, SIGNALED, b.mr.address, b.mr.rkey, 2n, a.mr.address + 8, a.mr.lkey);
  a.qp.sends.read(2, 3, SIGNALED | SendFlags.FENCE, b.mr.address, b.mr.rkey, a.mr.address + 16, 8, a.mr.lkey);
  a.qp.postSend(3);
  t.same(
    (await take(a.cq, 3)).map((wc) => [wc.wrId, wc.status]),
    [1, 2, 3].map((wrId) => [wrId, Status.SUCCESS]),
  );
  t.same([...words(a.bytes).subarray(1, 3)], [40n, 42n]);
});
