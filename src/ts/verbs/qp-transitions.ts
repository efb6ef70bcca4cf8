// Which attributes a queue pair's transition needs and bears, and what is wrong with a set that was refused.
//
// Invariant: pure, and the same table as the kernel's (ib_modify_qp_is_ok), of which the tests prove every row against
// a device. The alternate path and its migration are left out: the attributes of this library have none.
// Source: InfiniBand Architecture 1.3, 11.2.5.2, table 91 (QP state transition properties); ibv_modify_qp(3).
import { QpAttributeMask as Mask, QpState, QpType } from '../addon/constants.js';

/** What a transition must and may carry, in bits of QpAttributeMask; STATE itself counts as neither. */
export interface Transition {
  required: number;
  optional: number;
}

/** What is wrong with the attributes of a transition. Names are those of {@link QueuePairAttributes}. */
export interface TransitionReport {
  /** False: a queue pair of this type never goes this way, whatever it carries. */
  exists: boolean;
  missing: string[];
  forbidden: string[];
}

const { RESET, INIT, READY_TO_RECEIVE: RTR, READY_TO_SEND: RTS, SEND_QUEUE_DRAINED: SQD } = QpState;
const { SEND_QUEUE_ERROR: SQE, ERROR } = QpState;

const NOTHING: Transition = { required: 0, optional: 0 };
const CONNECT = Mask.ADDRESS_VECTOR | Mask.PATH_MTU | Mask.DEST_QP_NUM | Mask.RQ_PSN;
const RC_SEND = Mask.TIMEOUT | Mask.RETRY_COUNT | Mask.RNR_RETRY | Mask.MAX_READ_ATOMIC;
const RC_WHILE_SENDING = Mask.CURRENT_STATE | Mask.ACCESS_FLAGS | Mask.MIN_RNR_TIMER;
const UC_WHILE_SENDING = Mask.CURRENT_STATE | Mask.ACCESS_FLAGS;
const UD_WHILE_SENDING = Mask.CURRENT_STATE | Mask.QKEY;

type Rows = Readonly<Record<string, Transition>>;

/** The rows that are the same for each type but in what may change while sending. */
function rowsWhileSending(optional: number): Record<string, Transition> {
  return {
    [`${RTS}-${RTS}`]: { required: 0, optional },
    [`${RTS}-${SQD}`]: { required: 0, optional: Mask.NOTIFY_WHEN_DRAINED },
    [`${SQD}-${RTS}`]: { required: 0, optional },
  };
}

const connectedInit = Mask.PKEY_INDEX | Mask.PORT | Mask.ACCESS_FLAGS;
const datagramInit = Mask.PKEY_INDEX | Mask.PORT | Mask.QKEY;

const tables: Readonly<Record<number, Rows>> = {
  [QpType.RC]: {
    [`${RESET}-${INIT}`]: { required: connectedInit, optional: 0 },
    [`${INIT}-${INIT}`]: { required: 0, optional: connectedInit },
    [`${INIT}-${RTR}`]: {
      required: CONNECT | Mask.MAX_DEST_READ_ATOMIC | Mask.MIN_RNR_TIMER,
      optional: Mask.ACCESS_FLAGS | Mask.PKEY_INDEX,
    },
    [`${RTR}-${RTS}`]: { required: RC_SEND | Mask.SQ_PSN, optional: RC_WHILE_SENDING },
    ...rowsWhileSending(RC_WHILE_SENDING),
    [`${SQD}-${SQD}`]: {
      required: 0,
      optional:
        RC_SEND |
        Mask.PORT |
        Mask.ADDRESS_VECTOR |
        Mask.MAX_DEST_READ_ATOMIC |
        Mask.ACCESS_FLAGS |
        Mask.PKEY_INDEX |
        Mask.MIN_RNR_TIMER,
    },
  },
  [QpType.UC]: {
    [`${RESET}-${INIT}`]: { required: connectedInit, optional: 0 },
    [`${INIT}-${INIT}`]: { required: 0, optional: connectedInit },
    [`${INIT}-${RTR}`]: { required: CONNECT, optional: Mask.ACCESS_FLAGS | Mask.PKEY_INDEX },
    [`${RTR}-${RTS}`]: { required: Mask.SQ_PSN, optional: UC_WHILE_SENDING },
    ...rowsWhileSending(UC_WHILE_SENDING),
    [`${SQD}-${SQD}`]: { required: 0, optional: Mask.ADDRESS_VECTOR | Mask.ACCESS_FLAGS | Mask.PKEY_INDEX },
    [`${SQE}-${RTS}`]: { required: 0, optional: UC_WHILE_SENDING },
  },
  [QpType.UD]: {
    [`${RESET}-${INIT}`]: { required: datagramInit, optional: 0 },
    [`${INIT}-${INIT}`]: { required: 0, optional: datagramInit },
    [`${INIT}-${RTR}`]: { required: 0, optional: Mask.PKEY_INDEX | Mask.QKEY },
    [`${RTR}-${RTS}`]: { required: Mask.SQ_PSN, optional: UD_WHILE_SENDING },
    ...rowsWhileSending(UD_WHILE_SENDING),
    [`${SQD}-${SQD}`]: { required: 0, optional: Mask.PKEY_INDEX | Mask.QKEY },
    [`${SQE}-${RTS}`]: { required: 0, optional: UD_WHILE_SENDING },
  },
};

/** The name of each bit among the attributes of modify(). */
const names: Readonly<Record<number, string>> = {
  [Mask.STATE]: 'state',
  [Mask.CURRENT_STATE]: 'currentState',
  [Mask.NOTIFY_WHEN_DRAINED]: 'notifyWhenDrained',
  [Mask.ACCESS_FLAGS]: 'accessFlags',
  [Mask.PKEY_INDEX]: 'pkeyIndex',
  [Mask.PORT]: 'port',
  [Mask.QKEY]: 'qkey',
  [Mask.ADDRESS_VECTOR]: 'destGid or destLid (the address vector)',
  [Mask.PATH_MTU]: 'pathMtu',
  [Mask.TIMEOUT]: 'timeout',
  [Mask.RETRY_COUNT]: 'retryCount',
  [Mask.RNR_RETRY]: 'rnrRetry',
  [Mask.RQ_PSN]: 'rqPsn',
  [Mask.MAX_READ_ATOMIC]: 'maxReadAtomic',
  [Mask.MIN_RNR_TIMER]: 'minRnrTimer',
  [Mask.SQ_PSN]: 'sqPsn',
  [Mask.MAX_DEST_READ_ATOMIC]: 'maxDestReadAtomic',
  [Mask.DEST_QP_NUM]: 'destQpNum',
};

const stateNames = Object.entries(QpState).map(([name]) => name);
const typeNames: Readonly<Record<number, string>> = { [QpType.RC]: 'RC', [QpType.UC]: 'UC', [QpType.UD]: 'UD' };

/** A state by its name in QpState; its number when it has none. */
export function qpStateName(state: number): string {
  return stateNames[state] ?? `state ${state}`;
}

/** A mask as names of attributes. */
export function qpAttributeNames(mask: number): string[] {
  return Array.from({ length: 32 }, (_, i) => (1 << i) >>> 0)
    .filter((bit) => (mask & bit) !== 0)
    .map((bit) => names[bit] ?? `bit 0x${bit.toString(16)}`);
}

/**
 * What a transition carries.
 *
 * @param type a value of QpType; @param from @param to values of QpState
 * @returns undefined when a queue pair of that type never goes that way
 */
export function transitionOf(type: number, from: number, to: number): Transition | undefined {
  const rows = tables[type];
  if (rows === undefined || stateNames[from] === undefined) return undefined;
  if (to === RESET) return NOTHING;
  if (to === ERROR) return from === RESET ? undefined : NOTHING;
  return rows[`${from}-${to}`];
}

/**
 * What is wrong with the attributes of a transition.
 *
 * @param type a value of QpType; @param from @param to values of QpState
 * @param mask bits of QpAttributeMask that the call carried
 * @returns nothing missing and nothing forbidden when the set is right; then a refusal is about a value
 */
export function explainTransition(type: number, from: number, to: number, mask: number): TransitionReport {
  const transition = transitionOf(type, from, to);
  if (transition === undefined) return { exists: false, missing: [], forbidden: [] };
  const { required, optional } = transition;
  return {
    exists: true,
    missing: qpAttributeNames(required & ~mask),
    forbidden: qpAttributeNames(mask & ~(required | optional | Mask.STATE)),
  };
}

/**
 * {@link explainTransition} as one line for the remedy of an error.
 *
 * @returns for example `RC queue pair, INIT to READY_TO_RECEIVE: missing: rqPsn; forbidden: sqPsn`
 */
export function transitionWords(type: number, from: number, to: number, mask: number): string {
  const way = `${typeNames[type] ?? `type ${type}`} queue pair, ${qpStateName(from)} to ${qpStateName(to)}`;
  const { exists, missing, forbidden } = explainTransition(type, from, to, mask);
  if (!exists) {
    const others = stateNames.filter((_, other) => transitionOf(type, from, other) !== undefined);
    return `${way}: no such transition; from ${qpStateName(from)} it goes to ${others.join(', ')}`;
  }
  const parts: string[] = [];
  if (missing.length > 0) parts.push(`missing: ${missing.join(', ')}`);
  if (forbidden.length > 0) parts.push(`forbidden: ${forbidden.join(', ')}`);
  if (parts.length > 0) return `${way}: ${parts.join('; ')}`;
  const carried = qpAttributeNames(mask & ~Mask.STATE).join(', ') || 'none';
  return `${way}: the right attributes (${carried}), so a value among them is what the device refuses, or it cannot do this transition`;
}
