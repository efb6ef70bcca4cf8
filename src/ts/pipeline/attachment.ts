// A place on one device: its inbox there, and the memory from which it sends by that device.
//
// Invariant: memory that an attachment registers is known to its own device only; a message that goes by another device
// lies in the memory of that device. It closes in order of dependency: the inbox, then, after the links, memory and
// device.
import { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import { Inbox, type InboxMessage, MemoryPool, type Poller } from '../ring/index.js';
import type { PortDevice } from '../ring/port.js';
import type { Device } from '../verbs/index.js';
import { inboxLimits, type PlaceSizes, placeSecret } from './lane-sizes.js';
import { subnetOf } from './location.js';
import { type DeviceAddress, type DeviceKind, fabricOf, kindOfDevice, LOOPBACK } from './place-address.js';
import type { PipelinePort } from './port.js';

/** How an attachment listens. */
export interface Listening {
  name: string;
  secret: string | Secret<string>;
  poller: Poller;
  sizes: PlaceSizes;
  maxLanes: number;
  /** Where a device that others hosts reach listens; default: 127.0.0.1. */
  listenHost: string | undefined;
  onMessage: (message: InboxMessage) => void;
}

export class Attachment {
  readonly device: PortDevice;
  readonly kind: DeviceKind;
  readonly fabric: string;
  private readonly port: PipelinePort;
  private readonly ownsDevice: boolean;
  private memory: MemoryPool | undefined;
  private listening: Inbox | undefined;

  /** @throws RdmaError RDMA_ERR_NO_DEVICE */
  constructor(port: PipelinePort, wanted: unknown) {
    this.port = port;
    const { device, owned } = port.device(wanted);
    this.device = device;
    this.ownsDevice = owned;
    try {
      const address = device.portAddress();
      this.kind = kindOfDevice(address);
      this.fabric = fabricOf(address, port.location.memory, subnetOf);
    } catch (error) {
      if (owned) device.close();
      throw error;
    }
  }

  /** @throws RdmaError as MemoryPool.open */
  openPool(limitBytes: number): void {
    this.memory = MemoryPool.openOn(this.port, { device: this.device as Device, limitBytes });
  }

  /** Memory for what is sent by this device. */
  get pool(): MemoryPool {
    return this.memory!;
  }

  /** @throws RdmaError as Inbox.listen */
  async listen({ name, secret, poller, sizes, maxLanes, listenHost, onMessage }: Listening): Promise<void> {
    this.listening = await Inbox.listenOn(this.port, {
      host: this.kind === 'soft' ? LOOPBACK : (listenHost ?? LOOPBACK),
      secret: placeSecret(secret, name),
      device: this.device as Device,
      poller,
      maxLanes,
      ...inboxLimits(sizes),
      onMessage,
    });
  }

  get inbox(): Inbox | undefined {
    return this.listening;
  }

  /** Where others connect. @throws RdmaError RDMA_ERR_CLOSED */
  get address(): DeviceAddress {
    if (this.listening === undefined) throw new RdmaError('RDMA_ERR_CLOSED', `${this.device.name} does not listen`);
    const { host, port } = this.listening.bootstrap;
    return { device: this.device.name, kind: this.kind, fabric: this.fabric, host, port };
  }

  async closeInbox(): Promise<void> {
    await this.listening?.close();
    this.listening = undefined;
  }

  /** After closeInbox(), and when no link uses it. */
  close(): void {
    this.memory?.close();
    if (this.ownsDevice) this.device.close();
  }
}
