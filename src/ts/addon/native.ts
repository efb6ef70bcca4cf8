// The native addon: loaded once, and typed.
//
// Invariant: it is loaded at the first call, once in a process. Native answers a negative errno; whoever calls turns
// that into an error for people.
import { loadAddon } from './load.js';

export { packageRoot } from './load.js';

export interface NativeListing {
  name: string;
  kind: 'soft' | 'verbs';
  transport: string;
  nodeGuid: string;
}

export interface NativeDeviceAttributes {
  firmware: string;
  /** The driver in user space, such as `mlx5` or `rxe`; "" when unknown. */
  provider: string;
  nodeGuid: bigint;
  systemImageGuid: bigint;
  /** The longest region; 2^53 - 1 for a device that names that or more, as rxe does (2^64 - 1: no limit). */
  maxMrBytes: number;
  /** Bit n: pages of 2^n bytes. */
  pageSizes: bigint;
  /** ibv_device_cap_flags. */
  capabilities: bigint;
  /** ibv_odp_general_caps; 0: no on-demand paging. */
  odpCapabilities: number;
  odpRc: number;
  odpUc: number;
  odpUd: number;
  timestampMask: bigint;
  coreClockKhz: number;
  vendorId: number;
  vendorPartId: number;
  hardwareVersion: number;
  maxQp: number;
  maxQpWr: number;
  maxSge: number;
  maxSgeRead: number;
  maxCq: number;
  maxCqe: number;
  maxMr: number;
  maxMw: number;
  maxPd: number;
  maxAh: number;
  maxQpReadAtomic: number;
  maxQpInitiatorReadAtomic: number;
  maxSrq: number;
  maxSrqWr: number;
  maxSrqSge: number;
  maxPkeys: number;
  localAckDelay: number;
  portCount: number;
  /** 0 none, 1 atomic among this device's own operations, 2 global (ibv_atomic_cap). */
  atomicCapability: number;
  /** -1: unknown, or the device belongs to none. */
  numaNode: number;
}

export interface NativePortAttributes {
  state: number;
  physicalState: number;
  maxMtu: number;
  activeMtu: number;
  gidTableLength: number;
  pkeyTableLength: number;
  lid: number;
  lidMaskControl: number;
  smLid: number;
  smServiceLevel: number;
  linkLayer: number;
  maxMessageBytes: number;
  capabilities: number;
  activeWidth: number;
  activeSpeed: number;
  badPkeys: number;
  qkeyViolations: number;
  /** Bit 0: a global routing header is required. */
  flags: number;
}

/** The keys of a region. */
export interface NativeKeys {
  address: number;
  byteLength: number;
  lkey: number;
  rkey: number;
}

/** See RawNumbers in src/native/attributes.h. */
export interface NativeRaw {
  pointer: bigint;
  handle: number;
  commandFd: number;
  eventFd: number;
}

export interface NativeMemory extends NativeKeys {
  handle: number;
  buffer: ArrayBuffer;
}

export interface NativeCq {
  handle: number;
  number: number;
  capacity: number;
  records: ArrayBuffer;
  counters: ArrayBuffer;
}

export interface NativeSrqAttributes {
  maxWr: number;
  maxSge: number;
  limit: number;
}

export interface NativeSrq {
  handle: number;
  number: number;
  receiveRecords: ArrayBuffer;
  maxWr: number;
  maxSge: number;
}

export interface NativeQp {
  handle: number;
  qpNum: number;
  sendRecords: ArrayBuffer;
  receiveRecords: ArrayBuffer;
  counters: ArrayBuffer;
  maxSendWr: number;
  maxRecvWr: number;
  maxSendSge: number;
  maxRecvSge: number;
  maxInlineData: number;
}

/** The words of `modifyQp` and `queryQp`, in the order of Visit() in src/native/addon/queue_pair.cc. */
export const AttributeWord = {
  mask: 0,
  state: 1,
  currentState: 2,
  accessFlags: 3,
  pkeyIndex: 4,
  port: 5,
  qkey: 6,
  pathMtu: 7,
  timeout: 8,
  retryCount: 9,
  rnrRetry: 10,
  rqPsn: 11,
  sqPsn: 12,
  maxReadAtomic: 13,
  maxDestReadAtomic: 14,
  minRnrTimer: 15,
  destQpNum: 16,
  destLid: 17,
  isGlobal: 18,
  gidIndex: 19,
  hopLimit: 20,
  serviceLevel: 21,
  trafficClass: 22,
  flowLabel: 23,
  sourcePathBits: 24,
  notifyWhenDrained: 25,
  isDraining: 26,
} as const;

export const ATTRIBUTE_WORDS = 27;

/** A transition of queue pairs, as struct QpTransition in src/native/qp_transitions.h. */
export interface NativeQpTransition {
  /** Bit n: for type n of QpType. */
  types: number;
  from: number;
  to: number;
  required: number;
  optional: number;
}

/** The words of `createAh`. */
export const PathWord = {
  port: 0,
  destLid: 1,
  isGlobal: 2,
  gidIndex: 3,
  hopLimit: 4,
  serviceLevel: 5,
  trafficClass: 6,
  flowLabel: 7,
  sourcePathBits: 8,
} as const;

export const PATH_WORDS = 9;

export interface NativeAddon {
  listDevices(): { devices: NativeListing[]; missing: Record<string, string> };
  openDevice(name: string): number | { errno: number; why: string };
  queryDevice(device: number): NativeDeviceAttributes | number;
  queryPort(device: number, port: number): NativePortAttributes | number;
  queryGid(device: number, port: number, index: number): { gid: string; type: string; netdev: string } | number;
  queryPkey(device: number, port: number, index: number): number;
  proveGid(device: number, port: number, index: number): number;
  watchDevice(device: number, callback: () => void): number;
  nextEvent(device: number): { type: number; element: number } | undefined | number;
  allocatePd(device: number): number;
  registerMemory(pd: number, bytes: number, access: number, pageBytes: number): NativeMemory | number;
  registerBuffer(pd: number, bytes: Uint8Array, access: number): (NativeKeys & { handle: number }) | number;
  registerDmabuf(
    pd: number,
    fd: number,
    offset: number,
    bytes: number,
    access: number,
  ): (NativeKeys & { handle: number }) | number;
  registerMapping(pd: number, mapping: number, access: number): (NativeKeys & { handle: number }) | number;
  reregisterMemory(region: number, access: number | undefined, pd: number): NativeKeys | number;
  deregisterMemory(region: number): number;
  mapRemote(qp: number, address: number, rkey: number, bytes: number): { handle: number; buffer: ArrayBuffer } | number;
  crc32c(bytes: Uint8Array, offset: number, length: number): number;
  wideCopy(target: Uint8Array, targetOffset: number, source: Uint8Array, sourceOffset: number, length: number): number;
  allocateWindow(pd: number): { handle: number; number: number; rkey: number } | number;
  createAh(pd: number, words: Uint32Array, gid: Uint8Array): { handle: number; number: number } | number;
  createSrq(pd: number, maxWr: number, maxSge: number, limit: number): NativeSrq | number;
  modifySrq(srq: number, maxWr: number | undefined, limit: number | undefined): number;
  querySrq(srq: number): NativeSrqAttributes | number;
  createChannel(device: number): number;
  watchChannel(channel: number, callback: () => void): number;
  keepAlive(deviceOrChannel: number, keep: boolean): number;
  createCq(device: number, capacity: number, channel: number): NativeCq | number;
  resizeCq(cq: number, capacity: number): number;
  createQp(
    pd: number,
    sendCq: number,
    receiveCq: number,
    srq: number,
    type: number,
    maxSendWr: number,
    maxRecvWr: number,
    maxSendSge: number,
    maxRecvSge: number,
    maxInlineData: number,
    signalAll: boolean,
  ): NativeQp | number;
  modifyQp(qp: number, words: Uint32Array, gid: Uint8Array): number;
  queryQp(qp: number, words: Uint32Array, gid: Uint8Array): number;
  qpTransitions(): NativeQpTransition[];
  close(handle: number): number;
  raw(handle: number): NativeRaw | number;
  dieWithParent(parentPid: number): number;
  /** A user id, or a negative errno. */
  peerUser(descriptor: number): number;
  /** The process ends after so long, whatever its threads wait for. 0, or a negative errno. */
  exitWithin(ms: number, code: number): number;
  createSharedMemory(bytes: number): { fd: number; buffer: ArrayBuffer } | number;
  releaseSharedMemory(buffer: ArrayBuffer): number;
  mapSharedMemory(fd: number, bytes: number): ArrayBuffer | number;
  timeCopy(to: ArrayBuffer, from: ArrayBuffer, bytes: number): number;
  createChannelPair(): { ours: number; theirs: number } | number;
  sendDescriptor(socket: number, bytes: Uint8Array, fd: number): number;
  descriptorOf(regionOrMapping: number): { fd: number; offset: number } | number;
  createEventFd(inherited: number): { handle: number; fd: number } | number;
  watchEventFd(eventFd: number, callback: () => void): number;
  signalEventFd(eventFd: number): number;
  /** See HotCalls, which is the only one to make the calls below. */
  readonly frame: ArrayBuffer;
  postSend(): void;
  postReceive(): void;
  postSharedReceive(): void;
  pollCq(): void;
  postSendAndPoll(): void;
  clock(): void;
  yield(): void;
  requestNotify(): void;
}

let loaded: NativeAddon | undefined;

/**
 * The native addon, loaded at the first call.
 *
 * @throws RdmaError RDMA_ERR_NATIVE_MISSING when no build for this platform can be loaded; RDMA_ERR_NOT_SUPPORTED in a
 *   runtime that cannot run it (Bun, Deno, Electron)
 */
export function native(): NativeAddon {
  loaded ??= loadAddon() as NativeAddon;
  return loaded;
}
