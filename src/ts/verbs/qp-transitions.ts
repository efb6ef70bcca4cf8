// Which attributes a queue pair's transition needs and bears, and what is wrong with a set that was refused.
//
// Invariant: the table is the addon's (src/native/qp_transitions.h), and the tests prove each of its rows against a
// device. Apart from that table nothing here has state. Source: InfiniBand Architecture 1.3, 11.2.5.2, table 91 (QP
// state transition properties); ibv_modify_qp(3).
import { QpAttributeMask as Mask, QpState, QpType } from '../addon/constants.js';
import { type NativeQpTransition, native } from '../addon/native.js';

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

const NOTHING: Transition = { required: 0, optional: 0 };

let table: readonly NativeQpTransition[] | undefined;

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
  if (typeNames[type] === undefined || stateNames[from] === undefined) return undefined;
  if (to === QpState.RESET) return NOTHING;
  if (to === QpState.ERROR) return from === QpState.RESET ? undefined : NOTHING;
  table ??= native().qpTransitions();
  return table.find((row) => row.from === from && row.to === to && ((row.types >> type) & 1) === 1);
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
