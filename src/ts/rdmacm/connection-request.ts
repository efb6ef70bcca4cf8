// A request of a peer to be connected.
//
// Invariant: it is answered once. One that its peer has withdrawn, or that failed, is closed and says so when it is
// answered.
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkObject, invalidArgument } from '../core/validate.js';
import { QpState } from '../addon/constants.js';
import { QueuePair } from '../verbs/queue-pair.js';
import { eventError, tolerate } from './cm-errors.js';
import type { PeerParameters } from './cm-events.js';
import { Connection, type ConnectionInfo } from './connection.js';
import type { ConnectionId, IdEvent } from './connection-id.js';
import type { WaitOptions } from '../verbs/operation.js';
import { Deadline } from '../core/deadline.js';
import {
  type ConnectionParameters,
  checkPrivateData,
  encodeParameters,
  PortSpace,
  PrivateDataBytes,
} from './parameters.js';
import { type CmSocketAddress, formatAddress } from './socket-address.js';

/** How to accept. */
export interface AcceptOptions extends ConnectionParameters, WaitOptions {
  /**
   * On the device {@link ConnectionRequest.deviceName}, in the RESET state. The connection takes it over: it closes
   * with the connection, or when accepting fails.
   */
  queuePair: QueuePair;
  /** Posts the receives that the peer's first messages need: the queue pair is in the INIT state. */
  postReceives?: ((queuePair: QueuePair) => void) | undefined;
  /** How long the peer may take to establish; default 10 000 ms. */
  timeoutMs?: number | undefined;
  /** READs of the peer answered at a time; default as many as it asks for, at most 16. */
  responderResources?: number;
  /** READs of this side under way at a time; default as many as the peer offers, at most 16. */
  initiatorDepth?: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** What every RDMA device can do. */
const USUAL_READS = 16;

/** Comes from a {@link Listener}. */
export class ConnectionRequest implements ConnectionInfo {
  /** What the peer's connect() sent, filled up with zeros to 56 bytes. */
  readonly privateData: Uint8Array;
  /** What the peer's side offers, where the event says so. */
  readonly peerParameters: PeerParameters | undefined;
  /** Open the device of this name for the queue pair. */
  readonly deviceName: string;
  readonly devicePort: number;
  readonly localAddress: CmSocketAddress | undefined;
  readonly peerAddress: CmSocketAddress | undefined;
  private withdrawal: RdmaError | undefined;
  private answered = false;

  /** @internal Takes over `id`; `onWithdrawn` is called when the peer gives up first. */
  constructor(
    private readonly id: ConnectionId,
    event: IdEvent,
    onWithdrawn: () => void,
  ) {
    this.privateData = event.privateData;
    this.peerParameters = event.parameters;
    this.deviceName = id.deviceName;
    this.devicePort = id.devicePort;
    this.localAddress = id.localAddress;
    this.peerAddress = id.peerAddress;
    id.onEvent = (later) => {
      if (later.name === 'ESTABLISHED') return;
      this.withdrawal = eventError(later, this.where);
      id.close();
      onWithdrawn();
    };
  }

  private get where(): string {
    return this.peerAddress === undefined ? 'the peer' : formatAddress(this.peerAddress);
  }

  /** Why it cannot be accepted any more; undefined while it can. */
  get withdrawn(): RdmaError | undefined {
    return this.withdrawal;
  }

  private answer(): void {
    if (this.withdrawal !== undefined) throw this.withdrawal;
    if (this.answered) throw new RdmaError('RDMA_ERR_CLOSED', 'the request has been answered already');
    this.answered = true;
  }

  /**
   * Accepts, and waits until the peer has established the connection.
   *
   * @throws RdmaError RDMA_ERR_REJECTED, RDMA_ERR_PEER_GONE or an errno when the peer gave up; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_ABORTED; RDMA_ERR_INVALID_ARGUMENT (the request may be answered again then); RDMA_ERR_CLOSED when it was
   *   answered already
   * @see rdma_accept(3)
   */
  async accept(options: AcceptOptions): Promise<Connection> {
    const { id } = this;
    checkObject('options', options);
    if (!(options.queuePair instanceof QueuePair)) throw invalidArgument('queuePair', options.queuePair, 'a QueuePair');
    if (this.withdrawal === undefined && !this.answered) id.checkQueuePair(options.queuePair);
    checkPrivateData(options.privateData, PrivateDataBytes[PortSpace.TCP].accept);
    if (options.postReceives !== undefined) checkFunction('postReceives', options.postReceives);
    const asked = this.peerParameters;
    const reads = {
      responderResources: options.responderResources ?? Math.min(asked?.responderResources ?? 1, USUAL_READS),
      initiatorDepth: options.initiatorDepth ?? Math.min(asked?.initiatorDepth ?? 1, USUAL_READS),
    };
    const { queuePair, timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    const parameters = { ...options, ...reads };
    encodeParameters(parameters, queuePair.qpNum);
    const deadline = new Deadline({ timeoutMs, signal }, `accepting ${this.where}`);
    deadline.check();
    if (this.withdrawal !== undefined) queuePair.close();
    this.answer();
    id.channel.hold();
    id.onEvent = undefined;
    try {
      id.prepare(queuePair, QpState.INIT);
      options.postReceives?.(queuePair);
      id.prepare(queuePair, QpState.READY_TO_RECEIVE, { responderResources: reads.responderResources });
      id.prepare(queuePair, QpState.READY_TO_SEND, { initiatorDepth: reads.initiatorDepth });
      id.accept(queuePair.qpNum, parameters);
      await id.waitFor(['ESTABLISHED'], deadline);
      return new Connection(id, queuePair, this.privateData, this.peerParameters);
    } catch (error) {
      queuePair.close();
      id.close();
      throw error;
    } finally {
      id.channel.release();
    }
  }

  /**
   * Says no. What the peer has withdrawn is rejected without effect.
   *
   * @param privateData for the peer's program, at most 148 bytes
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED when it was answered already
   * @see rdma_reject(3)
   */
  reject(privateData?: ConnectionParameters['privateData']): void {
    checkPrivateData(privateData, PrivateDataBytes[PortSpace.TCP].reject);
    if (this.withdrawal !== undefined) return;
    this.answer();
    this.id.onEvent = undefined;
    // A peer that has gone meanwhile needs no answer.
    tolerate(() => this.id.reject(privateData));
    this.id.close();
  }
}
