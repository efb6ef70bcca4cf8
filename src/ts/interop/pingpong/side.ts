// One side's verbs objects.
//
// Invariant: receives are posted before the peer learns how to reach them; close() leaves nothing open.
import { PINGPONG_SRQ_ADDRESSES, type PingPongAddress } from './bootstrap.js';
import { RdmaError } from '../../core/errors.js';
import {
  type AddressHandle,
  type CompletionChannel,
  type CompletionQueue,
  Device,
  listDevices,
  pathTo,
  type ProtectionDomain,
  type QueuePair,
  QpState,
  QpType,
  SendFlags,
  type SharedReceiveQueue,
} from '../../verbs/index.js';
import { Payload } from './payload.js';
import { chooseRoute, offer, type Route, towards } from './route.js';
import type { PingPongSettings } from './settings.js';

const types = { rc: QpType.RC, uc: QpType.UC, ud: QpType.UD, srq: QpType.RC } as const;
const QKEY = 0x11111111;

/** wrId of a send; that of a receive is its place in the payload. */
export const SEND_WR_ID = 2 ** 32;

export class Side {
  readonly device: Device;
  readonly route: Route;
  readonly payload: Payload;
  readonly cq: CompletionQueue;
  readonly channel: CompletionChannel | undefined;
  readonly queuePairs: QueuePair[] = [];
  /** The addresses that the peer gets, one for each queue pair. */
  readonly local: PingPongAddress[];
  /** How many addresses go over the wire. */
  readonly addressCount: number;
  /** Receives that are posted. */
  postedReceives = 0;
  private readonly pd: ProtectionDomain;
  private readonly receiver: QueuePair | SharedReceiveQueue;
  private readonly sendFlags: number = SendFlags.SIGNALED;
  private addressHandle: AddressHandle | undefined;
  private remoteQpNum = 0;

  /**
   * Opens the device and everything on it, up to posted receives.
   *
   * @param onEvent called on the event loop when completions may have come, in event mode
   * @throws RdmaError RDMA_ERR_NO_DEVICE; ENOTSUP for a type that the device has not; RDMA_ERR_INVALID_ARGUMENT; what
   *   the verbs throw
   */
  constructor(
    private readonly settings: PingPongSettings,
    onEvent: () => void,
  ) {
    const { type, queuePairs, receiveDepth } = settings;
    this.device = Device.open(settings.device ?? listDevices().devices[0]?.name);
    try {
      this.route = chooseRoute(this.device, settings);
      this.pd = this.device.allocateProtectionDomain();
      this.payload = new Payload(this.pd, settings);
      this.channel = settings.events ? this.device.createCompletionChannel(onEvent) : undefined;
      this.cq = this.device.createCompletionQueue(receiveDepth + queuePairs, this.channel);
      const shared = type === 'srq' ? this.pd.createSharedReceiveQueue({ maxWr: receiveDepth }) : undefined;
      for (let i = 0; i < queuePairs; i++) this.queuePairs.push(this.createQueuePair(shared));
      this.receiver = shared ?? this.queuePairs[0]!;
      const inline = Math.min(...this.queuePairs.map((qp) => qp.capabilities.maxInlineData));
      if (inline >= settings.sizeBytes) this.sendFlags |= SendFlags.INLINE;
      this.postReceives();
      // Armed before the first completion can come.
      if (settings.events) this.cq.requestNotify();
    } catch (error) {
      this.device.close();
      throw error;
    }
    const { address } = this.route;
    this.local = this.queuePairs.map((qp) => offer(this.route, qp.qpNum, qp.endpoint(address).psn));
    this.addressCount = type === 'srq' ? PINGPONG_SRQ_ADDRESSES : 1;
  }

  private createQueuePair(shared: SharedReceiveQueue | undefined): QueuePair {
    const receives = shared === undefined ? { maxRecvWr: this.settings.receiveDepth } : { sharedReceiveQueue: shared };
    const qp = this.pd.createQueuePair({ type: types[this.settings.type], sendCq: this.cq, maxSendWr: 1, ...receives });
    qp.toInit(this.route.address, 0, this.settings.type === 'ud' ? QKEY : undefined);
    return qp;
  }

  /** Posts as many receives as are missing. */
  postReceives(): void {
    const { payload, receiver } = this;
    const { receives } = receiver;
    const { lkey } = payload.region;
    while (this.postedReceives < this.settings.receiveDepth) {
      const batch = Math.min(this.settings.receiveDepth - this.postedReceives, receives.capacity);
      for (let i = 0; i < batch; i++) {
        const slot = payload.takeSlot();
        receives.into(i, slot, payload.receiveAddress(slot), payload.receiveBytes, lkey);
      }
      this.postedReceives += receiver.postReceive(batch);
    }
  }

  /**
   * Connects every queue pair to the peer's.
   *
   * @param remote as they came over the wire
   * @throws RdmaError RDMA_ERR_PROTOCOL when they are not what this side needs; what ibv_modify_qp refuses
   */
  connect(remote: readonly PingPongAddress[]): void {
    const { type, queuePairs, serviceLevel, mtu } = this.settings;
    const used = type === 'srq' ? remote.findIndex((address) => address.qpNum === 0) : remote.length;
    if (used !== queuePairs) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `the peer uses ${used} queue pairs, this side ${queuePairs}`, {
        remedy: 'give both sides the same --num-qp',
      });
    }
    this.queuePairs.forEach((qp, i) => {
      const { gid, lid, qpNum, psn } = remote[i]!;
      const address = towards(this.route, remote[i]!);
      if (type === 'ud') {
        qp.modify({ state: QpState.READY_TO_RECEIVE });
        qp.toReadyToSend();
        this.addressHandle = this.pd.createAddressHandle({ ...pathTo(address, { gid, lid }), serviceLevel });
        this.remoteQpNum = qpNum;
      } else {
        qp.toReadyToReceive(address, { gid, lid, qpNum, psn, mtu }, { serviceLevel, mtu });
        qp.toReadyToSend();
      }
    });
  }

  /** Posts the next message of queue pair `index`. */
  send(index: number): void {
    const { payload } = this;
    const qp = this.queuePairs[index]!;
    const { sizeBytes } = this.settings;
    qp.sends.send(0, SEND_WR_ID, this.sendFlags, payload.sendAddress(index), sizeBytes, payload.region.lkey);
    if (this.addressHandle !== undefined) qp.sends.to(0, this.addressHandle.number, this.remoteQpNum, QKEY);
    qp.postSend(1);
  }

  /** Whether a datagram comes from the peer and not from somebody else who knows the key. */
  isFromPeer(sourceQp: number): boolean {
    return this.settings.type !== 'ud' || sourceQp === this.remoteQpNum;
  }

  close(): void {
    this.device.close();
  }
}
