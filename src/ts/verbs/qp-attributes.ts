// The attributes of a queue pair (ibv_qp_attr) on their way to native code and back.
//
// Invariant: every attribute that is given sets its bit of the mask, and no other bit is set.
import { RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import { QpAttributeMask as Mask } from '../addon/constants.js';
import { ATTRIBUTE_WORDS, AttributeWord as Word } from '../addon/native.js';

/** Attributes for {@link QueuePair.modify} and from {@link QueuePair.query}: ibv_qp_attr without what RC has not. */
export type QueuePairAttributes = {
  [K in Exclude<keyof typeof Word, 'mask' | 'isGlobal' | 'notifyWhenDrained' | 'isDraining'>]?: number;
} & {
  isGlobal?: boolean;
  /** An asynchronous event when SEND_QUEUE_DRAINED has drained. */
  notifyWhenDrained?: boolean;
  /** Only from query(). */
  isDraining?: boolean;
  /** Destination GID, 32 hexadecimal digits. */
  destGid?: string;
};

const maskOf: Partial<Record<keyof QueuePairAttributes, number>> = {
  state: Mask.STATE,
  currentState: Mask.CURRENT_STATE,
  accessFlags: Mask.ACCESS_FLAGS,
  pkeyIndex: Mask.PKEY_INDEX,
  port: Mask.PORT,
  qkey: Mask.QKEY,
  pathMtu: Mask.PATH_MTU,
  timeout: Mask.TIMEOUT,
  retryCount: Mask.RETRY_COUNT,
  rnrRetry: Mask.RNR_RETRY,
  rqPsn: Mask.RQ_PSN,
  sqPsn: Mask.SQ_PSN,
  maxReadAtomic: Mask.MAX_READ_ATOMIC,
  maxDestReadAtomic: Mask.MAX_DEST_READ_ATOMIC,
  minRnrTimer: Mask.MIN_RNR_TIMER,
  destQpNum: Mask.DEST_QP_NUM,
  destGid: Mask.ADDRESS_VECTOR,
  destLid: Mask.ADDRESS_VECTOR,
  isGlobal: Mask.ADDRESS_VECTOR,
  gidIndex: Mask.ADDRESS_VECTOR,
  hopLimit: Mask.ADDRESS_VECTOR,
  serviceLevel: Mask.ADDRESS_VECTOR,
  trafficClass: Mask.ADDRESS_VECTOR,
  flowLabel: Mask.ADDRESS_VECTOR,
  sourcePathBits: Mask.ADDRESS_VECTOR,
  notifyWhenDrained: Mask.NOTIFY_WHEN_DRAINED,
};

const BOOLEANS: ReadonlySet<string> = new Set(['isGlobal', 'notifyWhenDrained', 'isDraining']);

/** Attributes as native code takes and gives them. */
export class AttributeWords {
  readonly words = new Uint32Array(ATTRIBUTE_WORDS);
  readonly gid = new Uint8Array(16);

  /** Bits of QpAttributeMask. */
  get mask(): number {
    return this.words[Word.mask]!;
  }

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for what is no attribute, or no number where one is needed */
  static of(attributes: QueuePairAttributes): AttributeWords {
    const result = new AttributeWords();
    const { words } = result;
    let mask = 0;
    for (const [name, value] of Object.entries(attributes)) {
      const bit = maskOf[name as keyof QueuePairAttributes];
      if (bit === undefined || value === undefined) {
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} is not an attribute of a queue pair`);
      }
      mask |= bit;
      if (name === 'destGid') {
        result.gid.set(parseGid(String(value)));
      } else {
        words[Word[name as keyof typeof Word]] =
          typeof value === 'boolean' ? Number(value) : checkInteger(name, value, 0, 0xffffffff);
      }
    }
    words[Word.mask] = mask;
    return result;
  }

  /** All attributes by name. */
  toAttributes(): Required<QueuePairAttributes> {
    const result: Record<string, number | boolean | string> = { destGid: Buffer.from(this.gid).toString('hex') };
    for (const [name, at] of Object.entries(Word)) {
      if (name === 'mask') continue;
      result[name] = BOOLEANS.has(name) ? this.words[at] === 1 : (this.words[at] ?? 0);
    }
    return result as Required<QueuePairAttributes>;
  }
}

/**
 * The 16 bytes of a GID.
 *
 * @param gid 32 hexadecimal digits
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function parseGid(text: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/i.test(text)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `a GID has 32 hexadecimal digits, not ${JSON.stringify(text)}`);
  }
  return Buffer.from(text, 'hex');
}
