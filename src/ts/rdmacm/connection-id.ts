// A connection id (rdma_cm_id): what a socket is to TCP. Its methods are the calls of librdmacm, by their names.
//
// Invariant: a call only starts something; its end comes as an event. Events come in order, each to one place: to
// `onEvent`, or to the one who waits, or into a queue. A request that nobody has taken closes with the id that listens.
import { constants } from 'node:os';
import { errnoError, RdmaError } from '../core/errors.js';
import { checkInteger, checkOneOf, invalidArgument } from '../core/validate.js';
import { QpState } from '../addon/constants.js';
import { ATTRIBUTE_WORDS, AttributeWord as Word } from '../addon/native.js';
import { QueuePair } from '../verbs/queue-pair.js';
import { Resource } from '../verbs/resource.js';
import { callError, eventError } from './cm-errors.js';
import type { CmEventChannel } from './cm-event-channel.js';
import type { CmEvent, CmEventName } from './cm-events.js';
import type { WaitOptions } from '../verbs/operation.js';
import { Deadline } from '../core/deadline.js';
import { type NativeCmIdentity, nativeCm } from './native-cm.js';
import { type ConnectionParameters, checkPrivateData, encodeParameters, PrivateDataBytes } from './parameters.js';
import { type CmSocketAddress, decodeAddress, encodeAddress, formatAddress } from './socket-address.js';

/** An event of an id; CONNECT_REQUEST comes with the new id. */
export interface IdEvent extends CmEvent {
  request?: ConnectionId;
}

/** Options of an id (RDMA_OPTION_ID_*). */
export const IdOption = { TYPE_OF_SERVICE: 0, REUSE_ADDRESS: 1, ONE_FAMILY: 2, ACK_TIMEOUT: 3 } as const;

const FAILURES: ReadonlySet<CmEventName> = new Set<CmEventName>([
  'ADDR_ERROR',
  'ROUTE_ERROR',
  'CONNECT_ERROR',
  'UNREACHABLE',
  'REJECTED',
  'DISCONNECTED',
  'DEVICE_REMOVAL',
]);
const MAX_QUEUED = 1024;
const MAX_MS = 2 ** 31 - 1;
const { EINVAL } = constants.errno;

interface Waiter {
  names: readonly CmEventName[];
  resolve: (event: IdEvent) => void;
  reject: (error: unknown) => void;
}

/** Made by {@link CmEventChannel.createId}, and for each CONNECT_REQUEST. */
export class ConnectionId extends Resource {
  private handler: ((event: IdEvent) => void) | undefined;
  /** @internal Runs once, when the id has closed. */
  onClose: (() => void) | undefined;
  private readonly queue: IdEvent[] = [];
  private waiter: Waiter | undefined;
  private failure: RdmaError | undefined;

  /** @internal */
  constructor(
    /** Where its events come from. */
    readonly channel: CmEventChannel,
    handle: number,
    /** A value of PortSpace. */
    readonly portSpace: number,
  ) {
    super(handle, 'rdma_cm id', 'rdma_destroy_id', [channel]);
  }

  private identity(): NativeCmIdentity {
    const result = nativeCm().describeCmId(this.handle);
    if (typeof result === 'number') throw errnoError(result, 'rdma_cm_id');
    return result;
  }

  /** The device that the id is bound to; open one of this name for its queue pair. "" before it is bound. */
  get deviceName(): string {
    return this.identity().device;
  }

  /** The port of the device, 0 before it is bound. */
  get devicePort(): number {
    return this.identity().port;
  }

  /** The local address. @see rdma_get_local_addr(3) */
  get localAddress(): CmSocketAddress | undefined {
    return decodeAddress(this.identity().local);
  }

  /** The address of the peer. @see rdma_get_peer_addr(3) */
  get peerAddress(): CmSocketAddress | undefined {
    return decodeAddress(this.identity().peer);
  }

  private get where(): string {
    if (this.closed) return 'the peer';
    const address = this.peerAddress;
    return address === undefined ? 'the peer' : formatAddress(address);
  }

  /**
   * Binds to an address of this machine, and so to the device that has it.
   *
   * @throws RdmaError EADDRINUSE, EADDRNOTAVAIL; RDMA_ERR_NO_DEVICE
   * @see rdma_bind_addr(3)
   */
  bind(address: CmSocketAddress): void {
    const rc = nativeCm().bindCm(this.handle, encodeAddress('address', address));
    if (rc !== 0) throw callError(rc, 'rdma_bind_addr', formatAddress(address));
  }

  /**
   * Waits for requests from now on; each comes as the event CONNECT_REQUEST.
   *
   * @param backlog requests that the kernel keeps for this side, 0 to 65535
   * @throws RdmaError EADDRINUSE; EINVAL
   * @see rdma_listen(3)
   */
  listen(backlog = 128): void {
    const rc = nativeCm().listenCm(this.handle, checkInteger('backlog', backlog, 0, 65535));
    if (rc !== 0) throw callError(rc, 'rdma_listen', formatAddress(this.localAddress ?? { address: '::', port: 0 }));
  }

  /**
   * Looks for the device that leads to `destination`: ADDR_RESOLVED or ADDR_ERROR follows.
   *
   * @param source the address of this side; default as the routing table says
   * @throws RdmaError RDMA_ERR_NO_DEVICE; EINVAL
   * @see rdma_resolve_addr(3)
   */
  resolveAddress(destination: CmSocketAddress, timeoutMs = 2000, source?: CmSocketAddress): void {
    const from = source && encodeAddress('source', source);
    const to = encodeAddress('destination', destination);
    const rc = nativeCm().resolveCmAddress(this.handle, from, to, checkInteger('timeoutMs', timeoutMs, 1, MAX_MS));
    if (rc !== 0) throw callError(rc, 'rdma_resolve_addr', formatAddress(destination));
  }

  /** After ADDR_RESOLVED; ROUTE_RESOLVED or ROUTE_ERROR follows. @see rdma_resolve_route(3) */
  resolveRoute(timeoutMs = 2000): void {
    const rc = nativeCm().resolveCmRoute(this.handle, checkInteger('timeoutMs', timeoutMs, 1, MAX_MS));
    if (rc !== 0) throw callError(rc, 'rdma_resolve_route', this.where);
  }

  /**
   * After ROUTE_RESOLVED, asks the peer. CONNECT_RESPONSE follows: bring the queue pair to READY_TO_SEND with
   * prepare(), then call establish(). Or REJECTED, UNREACHABLE, CONNECT_ERROR. On a UDP id ESTABLISHED follows, with
   * `datagram`.
   *
   * @param qpNum number of the queue pair; any number on a UDP id
   * @throws RdmaError EINVAL; RDMA_ERR_INVALID_ARGUMENT
   * @see rdma_connect(3)
   */
  connect(qpNum: number, parameters: ConnectionParameters = {}): void {
    const bytes = checkPrivateData(parameters.privateData, this.limits().connect);
    const rc = nativeCm().connectCm(this.handle, encodeParameters(parameters, qpNum), bytes);
    if (rc !== 0) throw callError(rc, 'rdma_connect', this.where);
  }

  /** After CONNECT_RESPONSE, when the queue pair can send: the peer gets ESTABLISHED. @see rdma_establish(3) */
  establish(): void {
    const rc = nativeCm().establishCm(this.handle);
    if (rc !== 0) throw callError(rc, 'rdma_establish', this.where);
  }

  /**
   * Accepts a request, when the queue pair can send (see prepare()); ESTABLISHED follows, except on a UDP id.
   *
   * @throws RdmaError EINVAL when the peer has given up; RDMA_ERR_INVALID_ARGUMENT
   * @see rdma_accept(3)
   */
  accept(qpNum: number, parameters: ConnectionParameters = {}): void {
    const bytes = checkPrivateData(parameters.privateData, this.limits().accept);
    const rc = nativeCm().acceptCm(this.handle, encodeParameters(parameters, qpNum), bytes);
    if (rc !== 0) throw callError(rc, 'rdma_accept', this.where);
  }

  /** Rejects a request. @see rdma_reject(3) */
  reject(privateData?: ConnectionParameters['privateData']): void {
    const rc = nativeCm().rejectCm(this.handle, checkPrivateData(privateData, this.limits().reject));
    if (rc !== 0) throw callError(rc, 'rdma_reject', this.where);
  }

  /** Ends the connection, or answers the peer's end of it; DISCONNECTED follows. @see rdma_disconnect(3) */
  disconnect(): void {
    const rc = nativeCm().disconnectCm(this.handle);
    if (rc !== 0) throw callError(rc, 'rdma_disconnect', this.where);
  }

  /** Says that data has come before ESTABLISHED (IBV_EVENT_COMM_EST). @see rdma_notify(3) */
  notify(): void {
    const rc = nativeCm().notifyCm(this.handle);
    if (rc !== 0) throw callError(rc, 'rdma_notify', this.where);
  }

  /**
   * Sets an option, before the call that it is for.
   *
   * @param option a value of {@link IdOption}
   * @param value TYPE_OF_SERVICE 0 to 255; ACK_TIMEOUT 0 to 31 (4.096 us * 2^value); the others 0 or 1
   * @see rdma_set_option(3)
   */
  setOption(option: number, value: number): void {
    checkOneOf('option', option, Object.values(IdOption));
    const max = option === IdOption.TYPE_OF_SERVICE ? 255 : option === IdOption.ACK_TIMEOUT ? 31 : 1;
    const rc = nativeCm().setCmOption(this.handle, option, checkInteger('value', value, 0, max));
    if (rc !== 0) throw callError(rc, 'rdma_set_option', this.where);
  }

  /**
   * Brings a queue pair of our own to the next state with what the connection manager says about it.
   *
   * @param queuePair of the device {@link ConnectionId.deviceName}
   * @param state INIT, READY_TO_RECEIVE or READY_TO_SEND (values of QpState)
   * @param readAtomics instead of what the peer asked for: what this side answers, and may have under way, at a time
   * @throws RdmaError EINVAL in a state that does not allow it; RDMA_ERR_INVALID_ARGUMENT for another device's
   * @see rdma_init_qp_attr(3), ibv_modify_qp(3)
   */
  prepare(
    queuePair: QueuePair,
    state: number,
    readAtomics: { responderResources?: number; initiatorDepth?: number } = {},
  ): void {
    this.checkQueuePair(queuePair);
    checkOneOf('state', state, [QpState.INIT, QpState.READY_TO_RECEIVE, QpState.READY_TO_SEND]);
    const words = new Uint32Array(ATTRIBUTE_WORDS);
    const gid = new Uint8Array(16);
    const rc = nativeCm().cmQpAttributes(this.handle, state, words, gid);
    if (rc !== 0) throw callError(rc, 'rdma_init_qp_attr', this.where);
    const { responderResources, initiatorDepth } = readAtomics;
    if (responderResources !== undefined) words[Word.maxDestReadAtomic] = responderResources;
    if (initiatorDepth !== undefined) words[Word.maxReadAtomic] = initiatorDepth;
    // On iWARP the driver takes the last step by itself.
    if (words[Word.mask] === 0) return;
    const failed = nativeCm().modifyQp(queuePair.handle, words, gid);
    if (failed === 0) return;
    throw errnoError(failed, 'ibv_modify_qp', failed === -EINVAL ? `queue pair to state ${state}` : undefined);
  }

  /** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
  checkQueuePair(queuePair: QueuePair): void {
    if (!(queuePair instanceof QueuePair)) throw invalidArgument('queuePair', queuePair, 'a QueuePair');
    const { device } = queuePair.ledger;
    const name = this.deviceName;
    if (device !== name) throw invalidArgument('queuePair', device, `of the device ${name || 'of a bound id'}`);
  }

  private limits(): { connect: number; accept: number; reject: number } {
    return PrivateDataBytes[this.portSpace as keyof typeof PrivateDataBytes];
  }

  /**
   * Waits for one of the named events. Others before it are dropped.
   *
   * @throws RdmaError of an event that means failure and is not waited for: RDMA_ERR_REJECTED (a
   *   {@link ConnectionRejectedError}), RDMA_ERR_NO_DEVICE, RDMA_ERR_PEER_GONE, or an errno; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_ABORTED; RDMA_ERR_CLOSED when the id closes; RDMA_ERR_BUSY when somebody waits already
   * @see rdma_get_cm_event(3)
   */
  async waitFor(names: readonly CmEventName[], options: WaitOptions | Deadline = {}): Promise<IdEvent> {
    const deadline = options instanceof Deadline ? options : new Deadline(options, `waiting for ${names.join(', ')}`);
    if (this.waiter !== undefined) throw new RdmaError('RDMA_ERR_BUSY', 'somebody waits for this id already');
    if (this.closed) throw this.closedError();
    if (this.failure !== undefined) throw this.failure;
    deadline.check();
    let waiter: Waiter | undefined;
    const event = new Promise<IdEvent>((resolve, reject) => {
      waiter = { names, resolve, reject };
      this.waiter = waiter;
    });
    this.feed();
    return deadline.wait(event, () => {
      if (this.waiter === waiter) this.waiter = undefined;
    });
  }

  /**
   * Gets every event, those that wait already in a later turn of the event loop; undefined keeps them for waitFor().
   */
  get onEvent(): ((event: IdEvent) => void) | undefined {
    return this.handler;
  }

  set onEvent(handler: ((event: IdEvent) => void) | undefined) {
    this.handler = handler;
    if (handler !== undefined && this.queue.length > 0) setImmediate(() => this.deliver());
  }

  private deliver(): void {
    while (this.handler !== undefined) {
      const event = this.queue.shift();
      if (event === undefined) return;
      this.handler(event);
    }
  }

  /** @internal */
  receive(event: IdEvent): void {
    if (this.handler !== undefined && this.queue.length === 0) {
      this.handler(event);
      return;
    }
    if (this.queue.length >= MAX_QUEUED) {
      event.request?.close();
      return;
    }
    this.queue.push(event);
    // With a handler, deliver() is on its way.
    if (this.handler === undefined) this.feed();
  }

  /** @internal No event will come any more. */
  fail(error: RdmaError): void {
    this.failure ??= error;
    const waiter = this.waiter;
    this.waiter = undefined;
    waiter?.reject(error);
  }

  private feed(): void {
    while (this.waiter !== undefined) {
      const event = this.queue.shift();
      if (event === undefined) return;
      const waiter = this.waiter;
      if (waiter.names.includes(event.name)) {
        this.waiter = undefined;
        waiter.resolve(event);
      } else if (FAILURES.has(event.name)) {
        this.waiter = undefined;
        waiter.reject(eventError(event, this.where));
      } else {
        event.request?.close();
      }
    }
  }

  private closedError(): RdmaError {
    return new RdmaError('RDMA_ERR_CLOSED', 'the rdma_cm id is closed');
  }

  override close(): void {
    if (this.closed) return;
    const handle = this.rawHandle;
    super.close();
    this.fail(this.closedError());
    for (const { request } of this.queue.splice(0)) request?.close();
    const { onClose } = this;
    this.onClose = undefined;
    onClose?.();
    this.channel.forget(handle);
  }
}
