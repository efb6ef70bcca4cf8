// An RDMA device: found by name, opened, asked about itself; the root of every other object.
//
// Invariant: names are the kernel's (rxe0, mlx5_0, ...) except soft0, the software device inside this library. What
// cannot be used is said with its reason; no other device is taken in its place.
import { errnoError, RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkString, invalidArgument } from '../core/validate.js';
import { type AsyncEvent, describeEvent, type EventElements } from './async-event.js';
import { CompletionChannel } from './completion-channel.js';
import { CompletionQueue } from './completion-queue.js';
import type { GidEntry } from './gid.js';
import { native, type NativeDeviceAttributes, type NativeListing, type NativePortAttributes } from '../addon/native.js';
import { choosePortAddress, type PortAddress } from './port-address.js';
import { ProtectionDomain } from './protection-domain.js';
import { Resource } from './resource.js';
import { deviceError } from './soft-remedy.js';

/** A device as {@link listDevices} shows it. */
export type DeviceListing = NativeListing;
/** See ibv_query_device_ex(3); in words: capabilityNames, odpCapabilityNames, odpOperationNames, atomicWords. */
export type DeviceAttributes = NativeDeviceAttributes;
/**
 * See ibv_query_port(3); in words: portStateWords, physicalStateWords, linkLayerWords, mtuBytes (MTUs are codes) and
 * linkRateGbps (width and speed are codes).
 */
export type PortAttributes = NativePortAttributes;

/**
 * Every device of this machine.
 *
 * @returns the devices, `soft0` last, and for each kind that could not be asked the reason with its remedy
 * @throws RdmaError RDMA_ERR_NATIVE_MISSING
 * @see ibv_get_device_list(3)
 */
export function listDevices(): { devices: DeviceListing[]; missing: Record<string, string> } {
  return native().listDevices();
}

/** An opened device. Made by {@link Device.open}. */
export class Device extends Resource {
  /** As {@link listDevices} shows it. */
  readonly name: string;
  /** What it can do and what it is made of, asked when it was opened. soft0 says 0 or "" for what it has not. */
  readonly attributes: DeviceAttributes;
  /** @internal */
  readonly elements: EventElements = {
    queuePairs: new Map(),
    completionQueues: new Map(),
    sharedReceiveQueues: new Map(),
  };
  private readonly listeners = new Set<(event: AsyncEvent) => void>();
  private watching = false;

  private constructor(name: string, handle: number) {
    super(handle, 'device', 'ibv_close_device', [], name);
    this.name = name;
    const attributes = native().queryDevice(handle);
    if (typeof attributes === 'number') {
      this.close();
      throw errnoError(attributes, 'ibv_query_device');
    }
    this.attributes = attributes;
  }

  /**
   * Opens a device.
   *
   * @param name as {@link listDevices} shows it; default `soft0`
   * @throws RdmaError RDMA_ERR_NO_DEVICE when there is none of that name, or it cannot be used, with the reason
   * @see ibv_open_device(3)
   */
  static open(name = 'soft0'): Device {
    checkString('name', name, { minLength: 1, maxLength: 64 });
    const result = native().openDevice(name);
    if (typeof result === 'number') {
      if (result < 0) throw errnoError(result, 'ibv_open_device');
      return new Device(name, result);
    }
    const { errno, why } = result;
    const there = listDevices().devices.map((device) => device.name);
    if (there.includes(name)) throw cannotBeOpened(name, errno, why);
    throw new RdmaError('RDMA_ERR_NO_DEVICE', `no device ${name}: ${why}`, {
      errno,
      syscall: 'ibv_open_device',
      remedy: `devices here: ${there.join(', ')}`,
    });
  }

  /**
   * What a port can do and in which state it is.
   *
   * @param port 1 to attributes.portCount; default 1
   * @throws RdmaError EINVAL for a port that the device does not have; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see ibv_query_port(3)
   */
  queryPort(port = 1): PortAttributes {
    const result = native().queryPort(this.handle, checkInteger('port', port, 1, 255));
    if (typeof result === 'number') throw errnoError(result, 'ibv_query_port');
    return result;
  }

  /** The GID table of a port, empty entries left out. @see ibv_query_gid_table(3) */
  queryGidTable(port = 1): GidEntry[] {
    const table: GidEntry[] = [];
    const length = this.queryPort(port).gidTableLength;
    for (let index = 0; index < length; index++) {
      const entry = native().queryGid(this.handle, port, index);
      if (typeof entry !== 'number' && !/^0*$/.test(entry.gid)) table.push({ index, ...entry });
    }
    return table;
  }

  /**
   * One partition key of a port.
   *
   * @param index 0 to pkeyTableLength - 1
   * @returns 16 bits: the number, and in the highest bit whether the membership is full
   * @throws RdmaError EINVAL; ENOTSUP on soft0, which has no partitions
   * @see ibv_query_pkey(3)
   */
  queryPkey(port = 1, index = 0): number {
    checkInteger('port', port, 1, 255);
    const result = native().queryPkey(this.handle, port, checkInteger('index', index, 0, 65535));
    if (result < 0) throw errnoError(result, 'ibv_query_pkey');
    return result;
  }

  /** The partition keys of a port that are set, by index; empty on soft0. @throws as {@link Device.queryPkey} */
  queryPkeyTable(port = 1): { index: number; pkey: number }[] {
    const { pkeyTableLength: length } = this.queryPort(port);
    const table = Array.from({ length }, (_, index) => ({ index, pkey: this.queryPkey(port, index) }));
    return table.filter(({ pkey }) => pkey !== 0);
  }

  /**
   * The address that peers reach this port by, chosen by the ranking in gid.ts. A candidate that no address handle can
   * be made from is passed over, and `why` says so. Where an InfiniBand link asks for no global routing header, the LID
   * is the address (`isGlobal` false).
   *
   * @param gid takes this entry of the table instead, unproved: its index, its GID (32 hexadecimal digits) or IP
   *   address
   * @throws RdmaError RDMA_ERR_NO_DEVICE when the port is not active or has no usable address, with every entry and its
   *   reason; EINVAL for a port that the device does not have; RDMA_ERR_INVALID_ARGUMENT
   */
  portAddress(port = 1, gid?: number | string): PortAddress {
    const attributes = this.queryPort(port);
    return choosePortAddress({
      device: this.name,
      port,
      attributes,
      table: this.queryGidTable(port),
      prove: (index) => native().proveGid(this.handle, port, index),
      gid,
    });
  }

  /**
   * Calls `listener` for every asynchronous event from now on, on the event loop. Listening does not keep the process
   * alive. An event that comes while nobody listens waits in the device for the first listener.
   *
   * @returns a function that ends the listening
   * @throws RdmaError ENOTSUP where the device has no such events; RDMA_ERR_CLOSED
   * @see ibv_get_async_event(3)
   */
  onAsyncEvent(listener: (event: AsyncEvent) => void): () => void {
    checkFunction('listener', listener);
    const { handle } = this;
    if (!this.watching) {
      const rc = native().watchDevice(handle, () => this.takeEvents());
      if (rc !== 0) throw errnoError(rc, 'ibv_get_async_event');
      this.watching = true;
    }
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  private takeEvents(): void {
    // Bounded, so that a device in a storm of events leaves the loop its turn; what is left calls again.
    for (let taken = 0; taken < 1024 && !this.closed; taken++) {
      const event = native().nextEvent(this.rawHandle);
      if (event === undefined || typeof event === 'number') return;
      const described = describeEvent(event.type, event.element, this.elements);
      for (const listener of [...this.listeners]) listener(described);
    }
  }

  /**
   * Allocates a protection domain: memory and queue pairs of one can be used together.
   *
   * @throws RdmaError ENOMEM; RDMA_ERR_CLOSED
   * @see ibv_alloc_pd(3)
   */
  allocateProtectionDomain(): ProtectionDomain {
    const handle = native().allocatePd(this.handle);
    if (handle <= 0) throw errnoError(handle, 'ibv_alloc_pd');
    return new ProtectionDomain(this, handle);
  }

  /**
   * Creates a channel that calls `onEvent` on the event loop after events arrived.
   *
   * @param onEvent default: nothing, for a channel that only serves QueuePair.operations
   * @throws RdmaError EMFILE; RDMA_ERR_CLOSED
   * @see ibv_create_comp_channel(3)
   */
  createCompletionChannel(onEvent: () => void = () => {}): CompletionChannel {
    checkFunction('onEvent', onEvent);
    const handle = native().createChannel(this.handle);
    if (handle <= 0) throw errnoError(handle, 'ibv_create_comp_channel', 'raise the limit on open files (ulimit -n)');
    return new CompletionChannel(this, handle, onEvent);
  }

  /**
   * Creates a completion queue.
   *
   * @param capacity completions that must fit, 1 to attributes.maxCqe
   * @param channel where it raises events after requestNotify()
   * @throws RdmaError EINVAL, ENOMEM; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see ibv_create_cq(3)
   */
  createCompletionQueue(capacity: number, channel?: CompletionChannel): CompletionQueue {
    checkInteger('capacity', capacity, 1, this.attributes.maxCqe);
    if (channel !== undefined && !(channel instanceof CompletionChannel)) {
      throw invalidArgument('channel', channel, 'a CompletionChannel of this device');
    }
    const result = native().createCq(this.handle, capacity, channel?.handle ?? 0);
    if (typeof result === 'number') throw errnoError(result, 'ibv_create_cq');
    return new CompletionQueue(this, channel, result);
  }
}

// The device is listed, so something else is missing.
function cannotBeOpened(name: string, errno: number, why: string): RdmaError {
  const syscall = 'ibv_open_device';
  const { code, remedy } = deviceError(name, errno, syscall);
  const details = { errno, syscall, ...(remedy !== undefined && { remedy }) };
  return new RdmaError('RDMA_ERR_NO_DEVICE', `${name} is here, but it cannot be opened: ${code}, ${why}`, details);
}
