// Proves, on soft0 and on rxe0 alike, that the state machine allows the transitions of verbs and no other, and
// that work is posted only in a state that takes it.
import t from 'tap';
import {
  AccessFlags,
  CompletionStatus,
  QpState,
  type QueuePair,
  type QueuePairAttributes,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import { codeOf, FULL_ACCESS, openPair, openSide, type Side, takeOne } from './support.js';

const { RESET, INIT, READY_TO_RECEIVE, READY_TO_SEND, ERROR } = QpState;
const { SIGNALED } = SendFlags;

/** What a transition to each state carries when it is the right one. */
function attributesFor(side: Side, state: number): QueuePairAttributes {
  const { gid, lid, mtu } = side.address;
  switch (state) {
    case INIT:
      return { state, pkeyIndex: 0, port: 1, accessFlags: FULL_ACCESS };
    case READY_TO_RECEIVE:
      return {
        state,
        pathMtu: mtu,
        destQpNum: side.qp.qpNum,
        rqPsn: 5,
        maxDestReadAtomic: 1,
        minRnrTimer: 12,
        isGlobal: true,
        destGid: gid,
        destLid: lid,
        gidIndex: side.address.index,
        hopLimit: 64,
      };
    case READY_TO_SEND:
      return { state, timeout: 14, retryCount: 7, rnrRetry: 7, sqPsn: 5, maxReadAtomic: 1 };
    default:
      return { state };
  }
}

/** A queue pair in `state`, by the regular way. */
function bring(side: Side, state: number): QueuePair {
  const qp = side.pd.createQueuePair({ sendCq: side.cq });
  const way = state === ERROR ? [INIT, ERROR] : [INIT, READY_TO_RECEIVE, READY_TO_SEND].filter((s) => s <= state);
  for (const step of way) qp.modify(attributesFor(side, step));
  return qp;
}

const allowed: Record<number, number[]> = {
  [RESET]: [RESET, INIT],
  [INIT]: [RESET, INIT, READY_TO_RECEIVE, ERROR],
  [READY_TO_RECEIVE]: [RESET, READY_TO_SEND, ERROR],
  [READY_TO_SEND]: [RESET, ERROR],
  [ERROR]: [RESET, ERROR],
};

void t.test('every allowed transition succeeds, every other is refused with EINVAL and changes nothing', async (t) => {
  const side = openSide();
  const states = [RESET, INIT, READY_TO_RECEIVE, READY_TO_SEND, ERROR];
  for (const from of states) {
    for (const to of states) {
      const qp = bring(side, from);
      const expected = allowed[from]?.includes(to) ? 'none' : 'EINVAL';
      // From READY_TO_SEND to itself other attributes are allowed; that is another test.
      t.equal(
        codeOf(() => qp.modify(attributesFor(side, to))),
        expected,
        `${from} to ${to}`,
      );
      t.equal(qp.query().state, expected === 'none' ? to : from, `${from} to ${to}, the state after`);
      qp.close();
    }
  }
  side.device.close();
});

void t.test('a transition that lacks an attribute, or has one too many, is refused', async (t) => {
  const side = openSide();
  for (const [from, to] of [
    [RESET, INIT],
    [INIT, READY_TO_RECEIVE],
    [READY_TO_RECEIVE, READY_TO_SEND],
  ] as const) {
    const whole = attributesFor(side, to);
    const needed = Object.keys(whole).filter((name) => !/^(state|is|destGid|destLid|gid|hop)/.test(name));
    for (const name of needed) {
      const qp = bring(side, from);
      const { [name as 'port']: _, ...rest } = whole;
      t.equal(
        codeOf(() => qp.modify(rest)),
        'EINVAL',
        `to ${to} without ${name}`,
      );
      t.equal(qp.query().state, from);
      qp.close();
    }
  }
  const qp = bring(side, RESET);
  t.equal(
    codeOf(() => qp.modify({ ...attributesFor(side, INIT), sqPsn: 1 })),
    'EINVAL',
    'one too many',
  );
  t.equal(
    codeOf(() => qp.modify({ ...attributesFor(side, INIT), port: 7 })),
    'EINVAL',
    'a port that is not there',
  );
  t.equal(
    codeOf(() => qp.modify({ port: -1 })),
    'RDMA_ERR_INVALID_ARGUMENT',
    'no number of 32 bits',
  );
  t.equal(
    codeOf(() => qp.modify({ colour: 1 } as QueuePairAttributes)),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
  t.equal(
    codeOf(() => qp.modify({ destGid: 'xyz' })),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
  side.device.close();
});

void t.test('query() tells what modify() set', async (t) => {
  using pair = openPair({}, { timeout: 13, retryCount: 5, rnrRetry: 4, minRnrTimer: 9 });
  const { a, b } = pair;
  t.match(a.qp.query(), {
    state: READY_TO_SEND,
    accessFlags: FULL_ACCESS,
    port: 1,
    pathMtu: a.address.mtu,
    timeout: 13,
    retryCount: 5,
    rnrRetry: 4,
    minRnrTimer: 9,
    destQpNum: b.qp.qpNum,
    destGid: b.address.gid,
    isGlobal: true,
  });
});

void t.test('rights can be changed while ready to send, and count from then on', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  b.qp.modify({ state: READY_TO_SEND, accessFlags: AccessFlags.LOCAL_WRITE });
  a.qp.sends.write(0, 1, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(1);
  t.match(await takeOne(a.cq), { status: CompletionStatus.REMOTE_INVALID_REQUEST });
});

void t.test(
  'sends are refused before READY_TO_SEND, receives before INIT, with EINVAL and nothing taken',
  async (t) => {
    const side = openSide();
    for (const state of [RESET, INIT, READY_TO_RECEIVE]) {
      const qp = bring(side, state);
      qp.sends.send(0, 1, SIGNALED, side.mr.address, 8, side.mr.lkey);
      t.throws(() => qp.postSend(1), { code: 'EINVAL', taken: 0 }, `send in ${state}`);
      qp.receives.empty(0, 1);
      t.equal(
        codeOf(() => qp.postReceive(1)),
        state === RESET ? 'EINVAL' : 'none',
        `receive in ${state}`,
      );
      qp.close();
    }
    t.equal(side.cq.poll(), 0);
    side.device.close();
  },
);

void t.test(
  'what a queue pair cannot do is refused at posting with EINVAL, the good ones before it are taken',
  async (t) => {
    using pair = openPair({ maxSendSge: 1, maxRecvSge: 1 });
    const { a, b } = pair;
    const good = (index: number) =>
      a.qp.sends.write(index, index, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
    const bad: [string, () => void][] = [
      ['opcode', () => a.qp.sends.set(2, 77, 1, SIGNALED, 0, 0, 0, [])],
      ['flags', () => a.qp.sends.write(2, 1, 1 << 20, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey)],
      ['local address NaN', () => a.qp.sends.write(2, 1, SIGNALED, b.mr.address, b.mr.rkey, Number.NaN, 8, a.mr.lkey)],
      ['remote address negative', () => a.qp.sends.write(2, 1, SIGNALED, -8, b.mr.rkey, a.mr.address, 8, a.mr.lkey)],
      ['inline READ', () => a.qp.sends.read(2, 1, SIGNALED | SendFlags.INLINE, 0, 0, a.mr.address, 0, a.mr.lkey)],
    ];
    for (const [name, make] of bad) {
      good(0);
      good(1);
      make();
      t.throws(() => a.qp.postSend(3), { code: 'EINVAL', taken: 2 }, name);
      t.same([(await takeOne(a.cq)).wrId, (await takeOne(a.cq)).wrId], [0, 1], name);
    }
    const pieces = Array.from({ length: 5 }, () => ({ address: a.mr.address, length: 1, lkey: a.mr.lkey }));
    a.qp.receives.set(0, 1, pieces);
    t.throws(() => a.qp.postReceive(1), { code: 'EINVAL', taken: 0 });
    t.throws(() => a.qp.postSend(100_000), { code: 'EINVAL', taken: 0 });
    t.throws(() => a.qp.postSend(-1), { code: 'EINVAL', taken: 0 });
    good(0);
    a.qp.postSend(1);
    t.match(await takeOne(a.cq), { status: CompletionStatus.SUCCESS }, 'the queue pair lives');
  },
);
