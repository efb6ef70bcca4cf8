// A queue pair: its state machine, and the two calls of the hot path.
//
// Invariant: postSend() and postReceive() hand down records that are filled already and allocate nothing.
import { randomInt } from 'node:crypto';
import { errnoError, RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import type { CompletionQueue } from './completion-queue.js';
import { QpState, QpType } from '../addon/constants.js';
import { type QueuePairCounters, queuePairCounters } from './counters.js';
import { hotCalls } from '../addon/hot-calls.js';
import { native, type NativeQp } from '../addon/native.js';
import { Operations } from './operations.js';
import type { PortAddress } from './port-address.js';
import { postFailure } from './post-failure.js';
import type { ProtectionDomain } from './protection-domain.js';
import { AttributeWords, type QueuePairAttributes } from './qp-attributes.js';
import { transitionWords } from './qp-transitions.js';
import { ReceiveRequests } from './receive-requests.js';
import { RemoteMapping } from './remote-mapping.js';
import { Resource } from './resource.js';
import { SendRequests } from './send-requests.js';
import type { SharedReceiveQueue } from './shared-receive-queue.js';
import { deviceError } from './soft-remedy.js';

/** Errnos of ibv_modify_qp that are not about its attributes, on any device. */
const elsewhere = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'ETIMEDOUT', 'ENODEV', 'EMFILE', 'ENFILE', 'ENOMEM']);

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
  /** READs and atomics that this side may have under way, and answer; default 1. */
  maxReadAtomic?: number;
  /** Code of the path MTU (ibv_mtu), 1 to 5; default the port's. The smaller one of this and the peer's is taken. */
  mtu?: number;
  /** 0 to 255; default 64. */
  hopLimit?: number;
  /** 0 to 15; default 0. */
  serviceLevel?: number;
  /** 0 to 255; default 0. */
  trafficClass?: number;
}

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
  /** What happened here so far. */
  readonly counters: QueuePairCounters;
  private readonly live: ReturnType<typeof queuePairCounters>;
  private readonly hot = hotCalls();
  private readonly psn = randomInt(1 << 24);
  private operations_: Operations | undefined;

  /** @internal */
  constructor(
    /** Its memory belongs to this domain. */
    readonly protectionDomain: ProtectionDomain,
    /** A value of QpType. */
    readonly type: number,
    /** Where completions of send work requests go. */
    readonly sendCq: CompletionQueue,
    /** Where completions of receives go. */
    readonly receiveCq: CompletionQueue,
    /** Where receives come from, if not from a queue of its own. */
    readonly sharedReceiveQueue: SharedReceiveQueue | undefined,
    qp: NativeQp,
  ) {
    const { handle, qpNum, sendRecords, receiveRecords, counters, ...capabilities } = qp;
    const parents: Resource[] = [protectionDomain, sendCq];
    if (receiveCq !== sendCq) parents.push(receiveCq);
    if (sharedReceiveQueue !== undefined) parents.push(sharedReceiveQueue);
    super(handle, 'queue pair', 'ibv_destroy_qp', parents);
    this.qpNum = qpNum;
    this.sends = new SendRequests(sendRecords);
    this.receives = new ReceiveRequests(receiveRecords);
    this.capabilities = capabilities;
    this.live = queuePairCounters(counters);
    this.counters = this.live;
    protectionDomain.device.elements.queuePairs.set(qpNum, this);
    sharedReceiveQueue?.attach(receiveCq);
  }

  /** Work requests with a promise each, on this same queue pair. */
  get operations(): Operations {
    this.operations_ ??= new Operations(this);
    return this.operations_;
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
    const taken = this.hot.postSend(this.rawHandle, count);
    if (taken < 0) throw postFailure('QueuePair', taken, 'ibv_post_send', this.sends.taken);
    return taken;
  }

  /**
   * postSend() and then `sendCq.poll()`, in one call of native code: for loops that wait for each completion.
   *
   * @param count requests of {@link QueuePair.sends}
   * @param max completions to take at most; default 1
   * @param looks how often to look for the first one, as in {@link CompletionQueue.poll}; default 1
   * @returns how many completions there are now in `sendCq.completions`, 0 for none
   * @throws as {@link QueuePair.postSend}, and then nothing was polled; as {@link CompletionQueue.poll}
   * @see ibv_post_send(3), ibv_poll_cq(3)
   */
  postSendAndPoll(count: number, max = 1, looks = 1): number {
    return this.postSendAndPollTimed(count, max, looks, 0);
  }

  /** @internal As postSendAndPoll(); `stamp` 1 asks for the time before the post, in {@link lastStampMs}. */
  postSendAndPollTimed(count: number, max: number, looks: number, stamp: number): number {
    const { sendCq } = this;
    if (sendCq.pump.busy) {
      if (stamp !== 0) this.hot.clockMs();
      this.postSend(count);
      return sendCq.poll(max, looks);
    }
    const polled = this.hot.postSendAndPoll(this.rawHandle, count, max, looks, stamp);
    if (polled >= 0) return polled;
    if (this.closed || this.sends.taken < count)
      throw postFailure('QueuePair', polled, 'ibv_post_send', this.sends.taken);
    throw errnoError(polled, 'ibv_poll_cq');
  }

  /** @internal Of this thread's last stamp, in milliseconds of CLOCK_MONOTONIC. */
  get lastStampMs(): number {
    return this.hot.stampMs;
  }

  /**
   * Hands down the first `count` requests of {@link QueuePair.receives}.
   *
   * @returns `count`
   * @throws as {@link QueuePair.postSend}
   * @see ibv_post_recv(3)
   */
  postReceive(count: number): number {
    const taken = this.hot.postReceive(this.rawHandle, count);
    if (taken < 0) throw postFailure('QueuePair', taken, 'ibv_post_recv', this.receives.taken);
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

  /**
   * Changes attributes; `state` moves the state machine.
   *
   * @throws RdmaError EINVAL when the transition is not allowed or lacks an attribute
   * @see ibv_modify_qp(3)
   */
  modify(attributes: QueuePairAttributes): void {
    const { words, gid, mask } = AttributeWords.of(attributes);
    const rc = native().modifyQp(this.handle, words, gid);
    if (rc !== 0) throw this.modifyError(rc, attributes, mask);
  }

  private modifyError(rc: number, attributes: QueuePairAttributes, mask: number): RdmaError {
    const { name } = this.protectionDomain.device;
    const error = deviceError(name, rc, 'ibv_modify_qp');
    // Where the errno is about the peer, or what this process lacks, the attributes are no help.
    if (elsewhere.has(error.code) || error.remedy !== errnoError(rc, 'ibv_modify_qp').remedy) return error;
    const from = this.query().state;
    return errnoError(rc, 'ibv_modify_qp', transitionWords(this.type, from, attributes.state ?? from, mask));
  }

  /** All attributes. @see ibv_query_qp(3) */
  query(): Required<QueuePairAttributes> {
    const result = new AttributeWords();
    const rc = native().queryQp(this.handle, result.words, result.gid);
    if (rc !== 0) throw errnoError(rc, 'ibv_query_qp');
    return result.toAttributes();
  }

  /** What the peer must know to connect to this queue pair through `address`. */
  endpoint(address: PortAddress): QueuePairEndpoint {
    return { qpNum: this.qpNum, psn: this.psn, gid: address.gid, lid: address.lid, mtu: address.mtu };
  }

  /**
   * RESET to INIT: from now on receives can be posted.
   *
   * @param access bits of AccessFlags that the peer gets; a datagram queue pair has none
   * @param qkey of a datagram queue pair: senders have to know it, 32 bits
   */
  toInit(address: PortAddress, access = 0, qkey?: number): void {
    const common = { state: QpState.INIT, pkeyIndex: 0, port: address.port };
    if (this.type === QpType.UD) {
      this.modify({ ...common, qkey: checkInteger('qkey', qkey, 0, 0xffffffff) });
    } else {
      this.modify({ ...common, accessFlags: checkInteger('access', access, 0, 15) });
    }
  }

  /** INIT to READY_TO_RECEIVE, connected to `remote`. The path MTU is the smaller of both sides'. */
  toReadyToReceive(address: PortAddress, remote: QueuePairEndpoint, options: ConnectOptions = {}): void {
    const reliable = {
      maxDestReadAtomic: options.maxReadAtomic ?? 1,
      minRnrTimer: options.minRnrTimer ?? 12,
    };
    this.modify({
      state: QpState.READY_TO_RECEIVE,
      pathMtu: Math.min(options.mtu ?? address.mtu, checkInteger('remote.mtu', remote.mtu, 1, 5)),
      destQpNum: checkInteger('remote.qpNum', remote.qpNum, 0, 0xffffff),
      rqPsn: checkInteger('remote.psn', remote.psn, 0, 0xffffff),
      ...(this.type === QpType.RC ? reliable : {}),
      isGlobal: address.isGlobal,
      destGid: remote.gid,
      destLid: checkInteger('remote.lid', remote.lid, 0, 0xffff),
      gidIndex: address.index,
      hopLimit: options.hopLimit ?? 64,
      serviceLevel: options.serviceLevel ?? 0,
      trafficClass: options.trafficClass ?? 0,
    });
  }

  /** READY_TO_RECEIVE to READY_TO_SEND. */
  toReadyToSend(options: ConnectOptions = {}): void {
    const reliable = {
      timeout: options.timeout ?? 14,
      retryCount: options.retryCount ?? 7,
      rnrRetry: options.rnrRetry ?? 7,
      maxReadAtomic: options.maxReadAtomic ?? 1,
    };
    this.modify({
      state: QpState.READY_TO_SEND,
      sqPsn: this.psn,
      ...(this.type === QpType.RC ? reliable : {}),
    });
  }

  /** RESET to READY_TO_SEND in one go, connected to `remote` (RC and UC). */
  connect(address: PortAddress, remote: QueuePairEndpoint, options: ConnectOptions = {}): void {
    this.toInit(address, options.access ?? 0);
    this.toReadyToReceive(address, remote, options);
    this.toReadyToSend(options);
  }

  /**
   * RESET to READY_TO_SEND in one go, for datagrams (UD).
   *
   * @param qkey that senders to this queue pair have to know, 32 bits
   */
  activate(address: PortAddress, qkey: number): void {
    if (this.type !== QpType.UD) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'only a datagram queue pair is active without a peer', {
        remedy: 'connect() this one',
      });
    }
    this.toInit(address, 0, qkey);
    this.modify({ state: QpState.READY_TO_RECEIVE });
    this.toReadyToSend();
  }

  /**
   * Maps memory of the connected peer: what is stored there is in the peer's memory at once, without a work request,
   * and is ordered before every request that is posted afterwards. Soft devices only, in READY_TO_SEND.
   *
   * The mapping stays when the peer revokes the region, closes it or dies; the peer does not see the pages any more
   * then. Nothing else of the region's rights binds who has mapped it.
   *
   * @param address in the peer's region, as it says itself
   * @param rkey of a region registered with AccessFlags.REMOTE_MAP and REMOTE_WRITE, not of a window
   * @param bytes at least 1, all inside the region
   * @param owner the mapping ends with this domain, of any soft device; default the queue pair's
   * @throws RdmaError ENOTSUP on devices without shared memory; EACCES for a key or range that the peer does not allow;
   *   EINVAL in another state; ENOTCONN; ESRCH when the peer is dead; ENOMEM; RDMA_ERR_CLOSED
   */
  mapRemote(
    address: number,
    rkey: number,
    bytes: number,
    owner: ProtectionDomain = this.protectionDomain,
  ): RemoteMapping {
    checkInteger('address', address, 0);
    checkInteger('rkey', rkey, 0, 0xffffffff);
    checkInteger('bytes', bytes, 1, 2 ** 46);
    const result = native().mapRemote(this.handle, address, rkey, bytes);
    if (typeof result === 'number') throw errnoError(result, 'mmap');
    return new RemoteMapping(owner, result);
  }

  /** To the ERROR state: everything outstanding completes with FLUSHED. */
  toError(): void {
    this.modify({ state: QpState.ERROR });
  }

  protected override onClosing(): void {
    this.live.keep();
  }

  protected override onClosed(): void {
    this.protectionDomain.device.elements.queuePairs.delete(this.qpNum);
    this.operations_?.close();
    this.sharedReceiveQueue?.detach(this.receiveCq);
  }
}
