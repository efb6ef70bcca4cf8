// A reliable-connected queue pair: its state machine, and the two calls of the hot path.
//
// Invariant: postSend() and postReceive() hand down records that are filled already and allocate nothing.
import { randomInt } from 'node:crypto';
import { constants } from 'node:os';
import { errnoError, RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import type { CompletionQueue } from './completion-queue.js';
import { QpAttributeMask as Mask, QpState, QpType } from './constants.js';
import { ATTRIBUTE_WORDS, AttributeWord as Word, native, type NativeAddon, type NativeQp } from './native.js';
import type { PortAddress } from './port-address.js';
import type { ProtectionDomain } from './protection-domain.js';
import { transitionWords } from './qp-transitions.js';
import { ReceiveRequests, SendRequests } from './records.js';
import { Resource } from './resource.js';

const EBADF = -constants.errno.EBADF;
const ENOMEM = -constants.errno.ENOMEM;

/** What one side tells the other so that two queue pairs can be connected. Plain JSON. */
export interface QueuePairEndpoint {
  qpNum: number;
  /** First packet sequence number, 24 bits. */
  psn: number;
  /** 32 hexadecimal digits. */
  gid: string;
  lid: number;
  /** Code of the path MTU that this side can take (ibv_mtu). */
  mtu: number;
}

/** How to connect. Times are verbs codes; see ibv_modify_qp(3). */
export interface ConnectOptions {
  /** Bits of AccessFlags that the peer gets on this side; default none. */
  access?: number;
  /** Time for an answer, 4.096 us * 2^timeout; 0 to 31, default 14 (67 ms). */
  timeout?: number;
  /** Retries without an answer, 0 to 7; default 7. */
  retryCount?: number;
  /** Retries for a peer without receives, 0 to 6, 7 for ever; default 7. */
  rnrRetry?: number;
  /** How long a peer waits when this side has no receive, code 0 to 31; default 12 (0.64 ms). */
  minRnrTimer?: number;
  /** READs that this side may have under way, and answer; default 1. */
  maxReadAtomic?: number;
}

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

/** Made by {@link ProtectionDomain.createQueuePair}. */
export class QueuePair extends Resource {
  /** The number that the peer connects to. */
  readonly qpNum: number;
  /** Requests to be handed down by postSend(). */
  readonly sends: SendRequests;
  /** Requests to be handed down by postReceive(). */
  readonly receives: ReceiveRequests;
  /** What the device granted; at least what was asked for. */
  readonly capabilities: Pick<NativeQp, 'maxSendWr' | 'maxRecvWr' | 'maxSendSge' | 'maxRecvSge' | 'maxInlineData'>;
  private readonly addon: NativeAddon;
  private readonly psn = randomInt(1 << 24);

  /** @internal */
  constructor(pd: ProtectionDomain, sendCq: CompletionQueue, receiveCq: CompletionQueue, qp: NativeQp) {
    const { handle, qpNum, sendRecords, receiveRecords, counters: _, ...capabilities } = qp;
    super(handle, 'queue pair', 'ibv_destroy_qp', sendCq === receiveCq ? [pd, sendCq] : [pd, sendCq, receiveCq]);
    this.qpNum = qpNum;
    this.sends = new SendRequests(sendRecords);
    this.receives = new ReceiveRequests(receiveRecords);
    this.capabilities = capabilities;
    this.addon = native();
  }

  /**
   * Hands down the first `count` requests of {@link QueuePair.sends}, with one doorbell.
   *
   * @returns `count`
   * @throws RdmaError RDMA_ERR_QUEUE_FULL when not all fit (`error.taken` were posted; completions make room); EINVAL
   *   for a state or request that the device refuses; RDMA_ERR_CLOSED
   * @see ibv_post_send(3)
   */
  postSend(count: number): number {
    const taken = this.addon.postSend(this.rawHandle, count);
    if (taken < 0) throw this.postFailure(taken, 'ibv_post_send', this.sends.taken);
    return taken;
  }

  /**
   * Hands down the first `count` requests of {@link QueuePair.receives}.
   *
   * @returns `count`
   * @throws as {@link QueuePair.postSend}
   * @see ibv_post_recv(3)
   */
  postReceive(count: number): number {
    const taken = this.addon.postReceive(this.rawHandle, count);
    if (taken < 0) throw this.postFailure(taken, 'ibv_post_recv', this.receives.taken);
    return taken;
  }

  /**
   * Posts receives without memory, as many as WRITE_WITH_IMM are to come; allocates nothing.
   *
   * @param count any number, also more than one postReceive() can hand down
   * @throws as {@link QueuePair.postReceive}
   */
  postEmptyReceives(count: number): void {
    const { receives } = this;
    for (let left = count; left > 0; ) {
      const batch = Math.min(left, receives.capacity);
      for (let i = 0; i < batch; i++) receives.empty(i, 0);
      this.postReceive(batch);
      left -= batch;
    }
  }

  private postFailure(rc: number, syscall: string, taken: number): RdmaError {
    if (rc === EBADF) return new RdmaError('RDMA_ERR_CLOSED', 'QueuePair is closed');
    const error =
      rc === ENOMEM
        ? new RdmaError('RDMA_ERR_QUEUE_FULL', `the queue of queue pair ${this.qpNum} is full`, {
            errno: rc,
            syscall,
            remedy: 'poll the completion queue; unsignaled requests leave the queue with the next signaled one',
          })
        : errnoError(rc, syscall, 'see query().state and the request');
    return Object.assign(error, { taken });
  }

  /**
   * Changes attributes; `state` moves the state machine.
   *
   * @throws RdmaError EINVAL when the transition is not allowed or lacks an attribute
   * @see ibv_modify_qp(3)
   */
  modify(attributes: QueuePairAttributes): void {
    const words = new Uint32Array(ATTRIBUTE_WORDS);
    const gid = new Uint8Array(16);
    let mask = 0;
    for (const [name, value] of Object.entries(attributes)) {
      const bit = maskOf[name as keyof QueuePairAttributes];
      if (bit === undefined || value === undefined) {
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} is not an attribute of a queue pair`);
      }
      mask |= bit;
      if (name === 'destGid') {
        gid.set(parseGid(String(value)));
      } else {
        words[Word[name as keyof typeof Word]] =
          typeof value === 'boolean' ? Number(value) : checkInteger(name, value, 0, 0xffffffff);
      }
    }
    words[Word.mask] = mask;
    const rc = this.addon.modifyQp(this.handle, words, gid);
    if (rc !== 0) throw errnoError(rc, 'ibv_modify_qp', this.modifyRemedy(attributes, mask));
  }

  private modifyRemedy(attributes: QueuePairAttributes, mask: number, type: number = QpType.RC): string {
    const from = this.query().state;
    return transitionWords(type, from, attributes.state ?? from, mask);
  }

  /** All attributes. @see ibv_query_qp(3) */
  query(): Required<QueuePairAttributes> {
    const words = new Uint32Array(ATTRIBUTE_WORDS);
    const gid = new Uint8Array(16);
    const rc = this.addon.queryQp(this.handle, words, gid);
    if (rc !== 0) throw errnoError(rc, 'ibv_query_qp');
    const result: Record<string, number | boolean | string> = { destGid: Buffer.from(gid).toString('hex') };
    for (const [name, at] of Object.entries(Word)) {
      if (name === 'mask') continue;
      result[name] = BOOLEANS.has(name) ? words[at] === 1 : (words[at] ?? 0);
    }
    return result as Required<QueuePairAttributes>;
  }

  /** What the peer must know to connect to this queue pair through `address`. */
  endpoint(address: PortAddress): QueuePairEndpoint {
    return { qpNum: this.qpNum, psn: this.psn, gid: address.gid, lid: address.lid, mtu: address.mtu };
  }

  /**
   * RESET to INIT: from now on receives can be posted.
   *
   * @param access bits of AccessFlags that the peer gets
   */
  toInit(address: PortAddress, access = 0): void {
    this.modify({
      state: QpState.INIT,
      pkeyIndex: 0,
      port: address.port,
      accessFlags: checkInteger('access', access, 0, 15),
    });
  }

  /** INIT to READY_TO_RECEIVE, connected to `remote`. The path MTU is the smaller of both sides'. */
  toReadyToReceive(address: PortAddress, remote: QueuePairEndpoint, options: ConnectOptions = {}): void {
    this.modify({
      state: QpState.READY_TO_RECEIVE,
      pathMtu: Math.min(address.mtu, checkInteger('remote.mtu', remote.mtu, 1, 5)),
      destQpNum: checkInteger('remote.qpNum', remote.qpNum, 0, 0xffffff),
      rqPsn: checkInteger('remote.psn', remote.psn, 0, 0xffffff),
      maxDestReadAtomic: options.maxReadAtomic ?? 1,
      minRnrTimer: options.minRnrTimer ?? 12,
      isGlobal: address.isGlobal,
      destGid: remote.gid,
      destLid: checkInteger('remote.lid', remote.lid, 0, 0xffff),
      gidIndex: address.index,
      hopLimit: 64,
      serviceLevel: 0,
      trafficClass: 0,
    });
  }

  /** READY_TO_RECEIVE to READY_TO_SEND. */
  toReadyToSend(options: ConnectOptions = {}): void {
    this.modify({
      state: QpState.READY_TO_SEND,
      timeout: options.timeout ?? 14,
      retryCount: options.retryCount ?? 7,
      rnrRetry: options.rnrRetry ?? 7,
      sqPsn: this.psn,
      maxReadAtomic: options.maxReadAtomic ?? 1,
    });
  }

  /** RESET to READY_TO_SEND in one go, connected to `remote`. */
  connect(address: PortAddress, remote: QueuePairEndpoint, options: ConnectOptions = {}): void {
    this.toInit(address, options.access ?? 0);
    this.toReadyToReceive(address, remote, options);
    this.toReadyToSend(options);
  }

  /** To the ERROR state: everything outstanding completes with FLUSHED. */
  toError(): void {
    this.modify({ state: QpState.ERROR });
  }
}

function parseGid(text: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/i.test(text)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `a GID has 32 hexadecimal digits, not ${JSON.stringify(text)}`);
  }
  return Buffer.from(text, 'hex');
}
