// The address of a place: one entry for each device of its node, and the facts that decide among them.
//
// Invariant: an address from another process is checked before anybody connects to it.
import { checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import type { PortAddress } from '../verbs/index.js';

export const DEVICE_KINDS = ['soft', 'IB', 'RoCE v1', 'RoCE v2'] as const;
/** How a device carries bytes: the type of its GID; `soft` shares memory. */
export type DeviceKind = (typeof DEVICE_KINDS)[number];

/** The inbox of a place on one device. */
export interface DeviceAddress {
  /** Name of the device on its node. */
  readonly device: string;
  readonly kind: DeviceKind;
  /**
   * What two devices of one kind have in common when they reach each other for certain: the memory that processes
   * share, the subnet prefix of InfiniBand, the subnet of a RoCE address. Empty: unknown.
   */
  readonly fabric: string;
  /** The bootstrap of the inbox. */
  readonly host: string;
  readonly port: number;
}

/** Which machine a process runs on. */
export interface Location {
  /** The same for processes that reach each other by 127.0.0.1: one kernel, one network namespace. */
  readonly machine: string;
  /** The same for processes that share memory by soft devices: one kernel, one user, one PID namespace. */
  readonly memory: string;
  /** What people call the machine. */
  readonly hostname: string;
}

/** What a place says of memory of a GPU that is shared between processes (CUDA IPC). */
export interface GpuAddress {
  /** As {@link Location.memory}. */
  readonly memory: string;
  /** Memory of its own that others try to open, in the words of the Python package; undefined: there is none. */
  readonly probe?: string | undefined;
  /** Why there is none, in words. */
  readonly why?: string | undefined;
}

/** Where other places connect. */
export interface PlaceAddress {
  /** See {@link Location}. */
  readonly machine: string;
  readonly hostname: string;
  /** In the order in which its node prefers them; 1 to 64. */
  readonly devices: readonly DeviceAddress[];
  /** Of a stage whose code uses a GPU, once it has begun. */
  readonly gpu?: GpuAddress | undefined;
}

const MAX_DEVICES = 64;
const MAPPED_IPV4 = '00000000000000000000ffff';
/** Half of a GID: its subnet prefix. */
const PREFIX_DIGITS = 16;

/** What a soft device is reached by is not on the network. */
export const LOOPBACK = '127.0.0.1';

/** The kind of a device by its address. */
export function kindOfDevice({ type }: Pick<PortAddress, 'type'>): DeviceKind {
  return DEVICE_KINDS.find((kind) => kind === type) ?? 'IB';
}

/**
 * The fabric of a device; see {@link DeviceAddress.fabric}.
 *
 * @param subnetOf the subnet of an IPv4 address of this machine, such as `10.0.0.0/24`; undefined: it has no such
 *   address
 */
export function fabricOf(
  address: Pick<PortAddress, 'type' | 'gid'>,
  memory: string,
  subnetOf: (ip: string) => string | undefined,
): string {
  const kind = kindOfDevice(address);
  if (kind === 'soft') return memory;
  const { gid } = address;
  if (kind === 'RoCE v2' && gid.startsWith(MAPPED_IPV4)) {
    const ip = ipv4Of(gid);
    return subnetOf(ip) ?? `${ip}/32`;
  }
  return gid.slice(0, PREFIX_DIGITS);
}

function ipv4Of(gid: string): string {
  const digits = gid.slice(MAPPED_IPV4.length);
  return [0, 2, 4, 6].map((at) => Number.parseInt(digits.slice(at, at + 2), 16)).join('.');
}

/**
 * Checks an address that another process has written.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming what is wrong
 */
export function checkPlaceAddress(value: unknown): PlaceAddress {
  const { machine, hostname, devices, gpu } = checkObject<PlaceAddress>('address', value);
  if (!Array.isArray(devices) || devices.length === 0 || devices.length > MAX_DEVICES) {
    throw invalidArgument('address.devices', devices, `a list of 1 to ${MAX_DEVICES} devices`);
  }
  return {
    machine: checkString('address.machine', machine, { minLength: 1, maxLength: 128 }),
    hostname: checkString('address.hostname', hostname, { maxLength: 255 }),
    devices: devices.map(checkDeviceAddress),
    ...(gpu === undefined ? {} : { gpu: checkGpuAddress(gpu) }),
  };
}

function checkGpuAddress(value: unknown): GpuAddress {
  const { memory, probe, why } = checkObject<GpuAddress>('gpu of an address', value);
  return {
    memory: checkString('gpu.memory', memory, { maxLength: 128 }),
    ...(probe === undefined ? {} : { probe: checkString('gpu.probe', probe, { maxLength: 1024 }) }),
    ...(why === undefined ? {} : { why: checkString('gpu.why', why, { maxLength: 1024 }) }),
  };
}

function checkDeviceAddress(value: unknown): DeviceAddress {
  const { device, kind, fabric, host, port } = checkObject<DeviceAddress>('a device of an address', value);
  const known = DEVICE_KINDS.find((each) => each === kind);
  if (known === undefined) throw invalidArgument('kind', kind, `one of ${DEVICE_KINDS.join(', ')}`);
  return {
    device: checkString('device', device, { minLength: 1, maxLength: 255 }),
    kind: known,
    fabric: checkString('fabric', fabric, { maxLength: 128 }),
    host: checkString('host', host, { minLength: 1, maxLength: 255 }),
    port: checkInteger('port', port, 1, 65_535),
  };
}

/** An address in few words, which differ for any two addresses. */
export function addressWords({ machine, devices }: PlaceAddress): string {
  return `${machine}: ${devices.map(({ device, host, port }) => `${device} ${host}:${port}`).join(', ')}`;
}
