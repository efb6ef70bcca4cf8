// The verbs objects of one side of `bench device`: small memory for requests and marks, larger memory on demand.
//
// Invariant: both sides are alike, so either can write to the other; close() closes all that it has opened.
//
//   small memory | out, 4 KiB | into, 4 KiB |
import { RdmaError } from '../../core/errors.js';
import { checkInteger, checkObject, checkString } from '../../core/validate.js';
import {
  AccessFlags,
  type CompletionChannel,
  type CompletionQueue,
  Device,
  type MemoryRegion,
  type PortAddress,
  type ProtectionDomain,
  type QueuePair,
  type QueuePairEndpoint,
} from '../../verbs/index.js';
import { checkCompletion } from '../kit/loop.js';

/** Memory of the other side. Plain JSON. */
export interface RemoteMemory {
  address: number;
  rkey: number;
}

/** What one side tells the other. Plain JSON. */
export interface Offer extends RemoteMemory {
  endpoint: QueuePairEndpoint;
}

/** Requests in a batch with one doorbell, and how often a run of single requests is completed. */
export const BATCH = 64;
/** The size of small messages. */
export const SMALL_BYTES = 64;
const OUT = 0;
const INTO = 4096;
const SMALL_MEMORY = 8192;
const RECEIVES = 16;
const PEER_ACCESS = AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_READ;

export class Side {
  readonly device: Device;
  readonly pd: ProtectionDomain;
  readonly channel: CompletionChannel;
  /** Completions of sends, polled. */
  readonly sendCq: CompletionQueue;
  /** Of receives: the ones that wake. */
  readonly receiveCq: CompletionQueue;
  readonly qp: QueuePair;
  readonly small: MemoryRegion;
  readonly bytes: Uint8Array;
  readonly out = OUT;
  readonly into = INTO;
  remote: Offer = { endpoint: { qpNum: 0, psn: 0, gid: '', lid: 0, mtu: 1 }, address: 0, rkey: 0 };
  /** Called when the completion channel has an event. */
  onEvent: () => void = () => {};
  private readonly port: PortAddress;

  /** @throws RdmaError RDMA_ERR_NO_DEVICE; ENOMEM, EINVAL for what the device does not grant */
  constructor(name: string) {
    const device = Device.open(name);
    this.device = device;
    try {
      this.port = device.portAddress();
      this.pd = device.allocateProtectionDomain();
      this.channel = device.createCompletionChannel(() => this.onEvent());
      this.sendCq = device.createCompletionQueue(2 * BATCH);
      this.receiveCq = device.createCompletionQueue(2 * RECEIVES, this.channel);
      const { sendCq, receiveCq } = this;
      this.qp = this.pd.createQueuePair({
        sendCq,
        receiveCq,
        maxSendWr: 2 * BATCH,
        maxRecvWr: RECEIVES,
        maxSendSge: 4,
      });
      this.small = this.pd.registerMemory({ bytes: SMALL_MEMORY, access: AccessFlags.LOCAL_WRITE | PEER_ACCESS });
      this.bytes = new Uint8Array(this.small.buffer);
    } catch (error) {
      device.close();
      throw error;
    }
  }

  offer(): Offer {
    const { address, rkey } = this.small;
    return { endpoint: this.qp.endpoint(this.port), address, rkey };
  }

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for an offer that makes no sense; EINVAL */
  connect(value: unknown): void {
    const offer = checkObject<Offer>('offer', value);
    checkString('gid', checkObject<QueuePairEndpoint>('endpoint', offer.endpoint).gid);
    this.remote = { ...checkRemote(offer), endpoint: offer.endpoint };
    this.qp.connect(this.port, offer.endpoint, { access: PEER_ACCESS });
    this.qp.postEmptyReceives(RECEIVES);
  }

  /** Memory that the other side may write and read, and map where both share memory, until it is closed. */
  register(bytes: number): MemoryRegion {
    const map = this.port.type === 'soft' ? AccessFlags.REMOTE_MAP : 0;
    return this.pd.registerMemory({ bytes, access: AccessFlags.LOCAL_WRITE | PEER_ACCESS | map });
  }

  /** The next completion of a send, if it is there; a request that failed is thrown. */
  takeSend(): boolean {
    if (this.sendCq.poll(1) === 0) return false;
    checkCompletion(this.sendCq, 0);
    return true;
  }

  close(): void {
    this.device.close();
  }
}

/** @throws RdmaError RDMA_ERR_PROTOCOL */
export function checkRemote(value: unknown): RemoteMemory {
  try {
    const { address, rkey } = checkObject<RemoteMemory>('remote memory', value);
    return {
      address: checkInteger('address', address, 0, Number.MAX_SAFE_INTEGER),
      rkey: checkInteger('rkey', rkey, 0, 0xffffffff),
    };
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the other side of the benchmark offers no memory', { cause });
  }
}
