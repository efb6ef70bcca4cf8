// Proves on the device what qp-transitions.ts says: each transition passes with exactly what it needs, fails with any
// one left out or one too many, and the error's words name that one.
import { constants } from 'node:os';
import t from 'tap';
import { QpAttributeMask as Mask, QpState, QpType } from '../../src/ts/addon/constants.js';
import type { QueuePairAttributes, RdmaError } from '../../src/ts/verbs/index.js';
import { ATTRIBUTE_WORDS, AttributeWord, native } from '../../src/ts/addon/native.js';
import { qpAttributeNames, qpStateName, transitionOf } from '../../src/ts/verbs/qp-transitions.js';
import { isSoft, openSide, type Side, until } from './support.js';

const { RESET, INIT, READY_TO_RECEIVE, READY_TO_SEND, SEND_QUEUE_DRAINED, SEND_QUEUE_ERROR, ERROR } = QpState;
const WAY = [INIT, READY_TO_RECEIVE, READY_TO_SEND, SEND_QUEUE_DRAINED];
const bits = Object.values(Mask);

/** A queue pair of any type, below the class that knows RC only. */
class Raw {
  constructor(
    readonly side: Side,
    readonly type: number,
    readonly handle: number,
    readonly qpNum: number,
  ) {}

  /** Every attribute with a value that is right, and `mask` for those that count. */
  modify(from: number, to: number, mask: number): number {
    const { address } = this.side;
    const words = new Uint32Array(ATTRIBUTE_WORDS);
    const values: Partial<Record<keyof typeof AttributeWord, number>> = {
      mask,
      state: to,
      currentState: from,
      port: 1,
      pathMtu: address.mtu,
      timeout: 14,
      retryCount: 7,
      rnrRetry: 7,
      maxReadAtomic: 1,
      maxDestReadAtomic: 1,
      minRnrTimer: 12,
      destQpNum: this.qpNum,
      isGlobal: 1,
      gidIndex: address.index,
      hopLimit: 1,
    };
    for (const [name, value] of Object.entries(values)) words[AttributeWord[name as 'mask']] = value;
    return native().modifyQp(this.handle, words, Buffer.from(address.gid, 'hex'));
  }

  query(word: number): number {
    const words = new Uint32Array(ATTRIBUTE_WORDS);
    const rc = native().queryQp(this.handle, words, new Uint8Array(16));
    if (rc !== 0) throw new Error(`query: ${rc}`);
    return words[word]!;
  }

  async bring(state: number): Promise<void> {
    let from: number = RESET;
    for (const to of state === ERROR ? [INIT, ERROR] : WAY.filter((step) => step <= state)) {
      const rc = this.modify(from, to, transitionOf(this.type, from, to)!.required | Mask.STATE);
      if (rc !== 0) throw new Error(`${qpStateName(from)} to ${qpStateName(to)}: ${rc}`);
      from = to;
    }
    if (state === SEND_QUEUE_DRAINED) await until('it has drained', () => this.query(AttributeWord.isDraining) === 0);
  }
}

async function withRaw<T>(side: Side, type: number, state: number, use: (qp: Raw) => T): Promise<T> {
  const made = native().createQp(side.pd.handle, side.cq.handle, side.cq.handle, 0, type, 8, 8, 1, 1, 0, false);
  if (typeof made === 'number') throw new Error(`createQp: ${made}`);
  try {
    const qp = new Raw(side, type, made.handle, made.qpNum);
    await qp.bring(state);
    return use(qp);
  } finally {
    native().close(made.handle);
  }
}

/**
 * The table allows a UC queue pair whose send queue is drained another address vector. rxe refuses it: to all
 * appearance the kernel's uverbs adds PORT to a lone address vector in this state, which its own table does not allow.
 */
const isRefusedByKernel = (type: number, from: number, to: number, bit: number) =>
  !isSoft && type === QpType.UC && from === SEND_QUEUE_DRAINED && to === from && bit === Mask.ADDRESS_VECTOR;

for (const [name, type] of Object.entries(QpType)) {
  void t.test(`${name}: each transition takes what the table says, and nothing else`, async (t) => {
    const side = openSide();
    const states = Object.values(QpState).filter((s) => s !== SEND_QUEUE_ERROR);
    for (const from of states) {
      for (const to of states) {
        const way = `${qpStateName(from)} to ${qpStateName(to)}`;
        const transition = transitionOf(type, from, to);
        const attempt = (mask: number) => withRaw(side, type, from, (qp) => qp.modify(from, to, mask | Mask.STATE));
        if (transition === undefined) {
          t.not(await attempt(0), 0, `${way} is none`);
          continue;
        }
        const { required, optional } = transition;
        t.equal(await attempt(required), 0, `${way} with exactly what it needs`);
        for (const bit of bits) {
          if (bit === Mask.STATE) continue;
          const [attribute] = qpAttributeNames(bit);
          if ((required & bit) !== 0) t.not(await attempt(required & ~bit), 0, `${way} without ${attribute}`);
          else if ((optional & bit) === 0) t.not(await attempt(required | bit), 0, `${way} with ${attribute} too`);
          else if (isRefusedByKernel(type, from, to, bit)) {
            t.equal(await attempt(bit), -constants.errno.EINVAL, `${way} with ${attribute}: a known difference`);
          } else t.equal(await attempt(required | bit), 0, `${way} may carry ${attribute}`);
        }
      }
    }
    side.device.close();
  });
}

void t.test('the error of modify() names exactly the attribute, and the errno', async (t) => {
  const side = openSide();
  const { gid, lid, mtu, index } = side.address;
  const route = { destGid: gid, destLid: lid, isGlobal: true, gidIndex: index, hopLimit: 1 };
  const whole: Record<number, QueuePairAttributes> = {
    [INIT]: { state: INIT, pkeyIndex: 0, port: 1, accessFlags: 0 },
    [READY_TO_RECEIVE]: {
      ...{ state: READY_TO_RECEIVE, pathMtu: mtu, destQpNum: 7, rqPsn: 5, maxDestReadAtomic: 1, minRnrTimer: 12 },
      ...route,
    },
    [READY_TO_SEND]: { state: READY_TO_SEND, timeout: 14, retryCount: 7, rnrRetry: 7, sqPsn: 5, maxReadAtomic: 1 },
  };
  const failure = (from: number, attributes: QueuePairAttributes): RdmaError => {
    const qp = side.pd.createQueuePair({ sendCq: side.cq });
    try {
      for (const step of WAY.filter((state) => state <= from)) qp.modify(whole[step]!);
      qp.modify(attributes);
    } catch (error) {
      return error as RdmaError;
    } finally {
      qp.close();
    }
    throw new Error(`was not refused: ${JSON.stringify(attributes)}`);
  };
  for (const [from, to] of [
    [RESET, INIT],
    [INIT, READY_TO_RECEIVE],
    [READY_TO_RECEIVE, READY_TO_SEND],
  ] as const) {
    for (const name of Object.keys(whole[to] ?? {})) {
      if (name === 'state' || name in route) continue;
      const { [name as 'port']: _, ...rest } = whole[to]!;
      const error = failure(from, rest);
      t.match(error, { code: 'EINVAL', syscall: 'ibv_modify_qp' });
      t.ok(error.remedy?.endsWith(`${qpStateName(from)} to ${qpStateName(to)}: missing: ${name}`), error.message);
    }
  }
  t.match(failure(RESET, { ...whole[INIT], qkey: 1 }).remedy, /: forbidden: qkey$/);
  t.match(failure(RESET, { state: READY_TO_SEND, sqPsn: 1 }).remedy, /: no such transition; from RESET it goes to/);
  t.match(
    failure(INIT, { state: READY_TO_RECEIVE, ...route }).remedy,
    /missing: pathMtu, rqPsn, minRnrTimer, maxDestReadAtomic, destQpNum$/,
  );
  t.match(failure(RESET, { ...whole[INIT], port: 9 }).remedy, /the right attributes .* so a value among them/);
  side.device.close();
});
