// The verbs objects of one side: a memory region with a part to send from and a part to receive into for each queue
// pair, and everything that is needed to use it.
//
// Invariant: opened once for the largest size and connected once; every size of a run uses the same objects.
//
//   registered memory, `strideBytes` each
//   | out of qp 0 | into of qp 0 | out of qp 1 | into of qp 1 | ...
import { RdmaError } from '../../core/errors.js';
import { checkInteger, checkObject, checkString } from '../../core/validate.js';
import {
  AccessFlags,
  type CompletionQueue,
  Device,
  type MemoryRegion,
  mtuBytes,
  type PortAddress,
  type QueuePair,
  type QueuePairEndpoint,
} from '../../verbs/index.js';
import { Sleeper } from '../kit/loop.js';
import { type VerbsSettings, verbOf } from './settings.js';

/** Which port of which device. */
export interface Place {
  device: string;
  ibPort: number;
  gidIndex?: number | undefined;
}

/** What one side tells the other. Plain JSON. */
export interface Offer {
  endpoints: QueuePairEndpoint[];
  address: number;
  rkey: number;
  maxReadAtomic: number;
}

const PAGE_BYTES = 4096;
const ATOMIC_ACCESS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_ATOMIC;

function accessFor(settings: VerbsSettings): number {
  switch (verbOf(settings.test)) {
    case 'write':
      return AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE;
    case 'read':
      return AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_READ;
    case 'atomic':
      return ATOMIC_ACCESS;
    default:
      return AccessFlags.LOCAL_WRITE;
  }
}

export class Side {
  readonly device: Device;
  readonly address: PortAddress;
  readonly memory: MemoryRegion;
  readonly bytes: Uint8Array;
  readonly sendCq: CompletionQueue;
  readonly receiveCq: CompletionQueue;
  readonly qps: readonly QueuePair[];
  readonly sleeper: Sleeper | undefined;
  readonly strideBytes: number;
  remote: Offer = { endpoints: [], address: 0, rkey: 0, maxReadAtomic: 0 };
  private readonly settings: VerbsSettings;

  /** @throws RdmaError RDMA_ERR_NO_DEVICE; ENOMEM, EINVAL for what the device does not grant */
  constructor(place: Place, settings: VerbsSettings) {
    this.settings = settings;
    const device = Device.open(place.device);
    this.device = device;
    try {
      this.address = portAddress(device, place, settings.mtuBytes);
      const { txDepth, rxDepth, qps, inlineBytes } = settings;
      const receives = verbOf(settings.test) === 'send';
      const pd = device.allocateProtectionDomain();
      this.strideBytes = Math.ceil(Math.max(...settings.sizes) / PAGE_BYTES) * PAGE_BYTES;
      this.memory = pd.registerMemory({ bytes: 2 * this.strideBytes * qps, access: accessFor(settings) });
      this.bytes = new Uint8Array(this.memory.buffer);
      this.sleeper = settings.events ? new Sleeper(device) : undefined;
      this.sendCq = device.createCompletionQueue(txDepth * qps + 1, this.sleeper?.channel);
      this.receiveCq = device.createCompletionQueue(receives ? rxDepth * qps + 1 : 1, this.sleeper?.channel);
      this.sleeper?.add(this.sendCq);
      this.sleeper?.add(this.receiveCq);
      this.qps = Array.from({ length: qps }, () =>
        pd.createQueuePair({
          sendCq: this.sendCq,
          receiveCq: this.receiveCq,
          maxSendWr: txDepth,
          maxRecvWr: receives ? rxDepth : 1,
          maxInlineData: inlineBytes,
        }),
      );
    } catch (error) {
      device.close();
      throw error;
    }
  }

  /** Where queue pair `index` sends from, or receives into, as an offset into either side's memory. */
  outOffset(index: number): number {
    return 2 * index * this.strideBytes;
  }

  intoOffset(index: number): number {
    return (2 * index + 1) * this.strideBytes;
  }

  offer(): Offer {
    const { maxQpReadAtomic, maxQpInitiatorReadAtomic } = this.device.attributes;
    return {
      endpoints: this.qps.map((qp) => qp.endpoint(this.address)),
      address: this.memory.address,
      rkey: this.memory.rkey,
      maxReadAtomic: Math.max(1, Math.min(maxQpReadAtomic, maxQpInitiatorReadAtomic || maxQpReadAtomic, 128)),
    };
  }

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for an offer that makes no sense; EINVAL */
  connect(value: unknown): void {
    const remote = checkOffer(value, this.qps.length);
    const maxReadAtomic = Math.min(this.offer().maxReadAtomic, remote.maxReadAtomic);
    const options = { access: accessFor(this.settings), maxReadAtomic };
    for (const [i, qp] of this.qps.entries()) qp.connect(this.address, remote.endpoints[i]!, options);
    this.remote = remote;
  }

  /** What was written before a size is not taken for what is to come. */
  clear(): void {
    this.bytes.fill(0);
  }

  close(): void {
    this.device.close();
  }
}

function portAddress(device: Device, place: Place, wantedMtu: number): PortAddress {
  const address = device.portAddress(place.ibPort, place.gidIndex);
  if (wantedMtu === 0) return address;
  if (wantedMtu > mtuBytes(address.mtu)) {
    throw new RdmaError(
      'RDMA_ERR_INVALID_ARGUMENT',
      `an MTU of ${wantedMtu} bytes: port ${address.port} of ${device.name} has ${mtuBytes(address.mtu)}`,
    );
  }
  return { ...address, mtu: Math.log2(wantedMtu) - 7 };
}

function checkOffer(value: unknown, qps: number): Offer {
  const offer = checkObject<Offer>('offer', value);
  if (!Array.isArray(offer.endpoints) || offer.endpoints.length !== qps) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', `the other side has not ${qps} queue pairs`);
  }
  for (const endpoint of offer.endpoints) checkString('gid', checkObject<QueuePairEndpoint>('endpoint', endpoint).gid);
  checkInteger('address', offer.address, 0, Number.MAX_SAFE_INTEGER);
  checkInteger('rkey', offer.rkey, 0, 0xffffffff);
  checkInteger('maxReadAtomic', offer.maxReadAtomic, 1, 255);
  return offer;
}
