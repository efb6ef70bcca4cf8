// The native addon: found, loaded once, and typed.
//
// Invariant: this is the only file that loads it. Native answers a negative errno; whoever calls turns that into an
// error for people.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { RdmaError } from '../core/errors.js';

export interface NativeListing {
  name: string;
  kind: 'soft' | 'verbs';
  transport: string;
  nodeGuid: string;
}

export interface NativeDeviceAttributes {
  firmware: string;
  maxMrBytes: number;
  vendorId: number;
  maxQp: number;
  maxQpWr: number;
  maxSge: number;
  maxCq: number;
  maxCqe: number;
  maxMr: number;
  maxPd: number;
  maxQpReadAtomic: number;
  maxSrq: number;
  portCount: number;
  atomicCapability: number;
}

export interface NativePortAttributes {
  state: number;
  maxMtu: number;
  activeMtu: number;
  gidTableLength: number;
  lid: number;
  smLid: number;
  linkLayer: number;
  maxMessageBytes: number;
}

export interface NativeMemory {
  handle: number;
  buffer: ArrayBuffer;
  address: number;
  lkey: number;
  rkey: number;
}

export interface NativeCq {
  handle: number;
  capacity: number;
  records: ArrayBuffer;
}

export interface NativeQp {
  handle: number;
  qpNum: number;
  sendRecords: ArrayBuffer;
  receiveRecords: ArrayBuffer;
  maxSendWr: number;
  maxRecvWr: number;
  maxSendSge: number;
  maxRecvSge: number;
  maxInlineData: number;
}

/** The words of `modifyQp` and `queryQp`, in the order of Visit() in src/native/addon/module.cc. */
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
} as const;

export const ATTRIBUTE_WORDS = 23;

export interface NativeAddon {
  listDevices(): { devices: NativeListing[]; missing: Record<string, string> };
  openDevice(name: string): number | { errno: number; why: string };
  queryDevice(device: number): NativeDeviceAttributes | number;
  queryPort(device: number, port: number): NativePortAttributes | number;
  queryGid(device: number, port: number, index: number): { gid: string; type: string; netdev: string } | number;
  allocatePd(device: number): number;
  registerMemory(pd: number, bytes: number, access: number): NativeMemory | number;
  deregisterMemory(region: number): number;
  createChannel(device: number): number;
  watchChannel(channel: number, callback: () => void): number;
  keepAlive(channel: number, keep: boolean): number;
  createCq(device: number, capacity: number, channel: number): NativeCq | number;
  createQp(
    pd: number,
    sendCq: number,
    receiveCq: number,
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
  close(handle: number): number;
  dieWithParent(parentPid: number): number;
  postSend(qp: number, count: number): number;
  postReceive(qp: number, count: number): number;
  pollCq(cq: number, max: number): number;
  requestNotify(cq: number, solicitedOnly: number): number;
}

/** The folder of this package: the nearest one above that holds its package.json. */
export function packageRoot(): string {
  let folder = __dirname;
  for (let depth = 0; depth < 8; depth++) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === 'onepiece-rdma') return folder;
    folder = dirname(folder);
  }
  throw new RdmaError('RDMA_ERR_NATIVE_MISSING', `the folder of onepiece-rdma was not found above ${__dirname}`);
}

function load(): NativeAddon {
  const root = packageRoot();
  try {
    const nodeGypBuild = require('node-gyp-build') as (folder: string) => NativeAddon;
    return nodeGypBuild(root);
  } catch (cause) {
    const words = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new RdmaError(
      'RDMA_ERR_NATIVE_MISSING',
      `the native addon for ${process.platform}-${process.arch} could not be loaded: ${words}`,
      { cause, remedy: `build it: cd ${root} && npm install --ignore-scripts && node scripts/build-native.mjs` },
    );
  }
}

let loaded: NativeAddon | undefined;

/**
 * The native addon, loaded at the first call.
 *
 * @throws RdmaError RDMA_ERR_NATIVE_MISSING when no build for this platform can be loaded
 */
export function native(): NativeAddon {
  loaded ??= load();
  return loaded;
}
