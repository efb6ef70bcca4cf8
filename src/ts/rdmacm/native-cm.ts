// The part of the native addon that this layer uses, typed.
//
// Invariant: as in src/native/addon/cm.cc; native answers a negative errno, whoever calls turns it into an error.
import { type NativeAddon, native } from '../addon/native.js';

/** An address as native code has it: see socket-address.ts. */
export type NativeAddress = Uint8Array;

/** The words of `connectCm`, `acceptCm` and of events, in the order of CmParameters in src/native/cm.h. */
export const ParameterWord = {
  responderResources: 0,
  initiatorDepth: 1,
  flowControl: 2,
  retryCount: 3,
  rnrRetryCount: 4,
  srq: 5,
  qpNum: 6,
} as const;

export const PARAMETER_WORDS = 7;

export interface NativeCmDatagram {
  qpNum: number;
  qkey: number;
  /** In the order of PathWord in src/ts/addon/native.ts. */
  path: Uint32Array;
  gid: Uint8Array;
}

export interface NativeCmEvent {
  /** Handle of the id that the event is about; of a request, the id that listens. */
  id: number;
  /** Handle of the new id of a CONNECT_REQUEST, else 0. */
  request: number;
  type: number;
  status: number;
  privateData: Uint8Array;
  parameters?: Uint32Array;
  datagram?: NativeCmDatagram;
}

export interface NativeCmIdentity {
  device: string;
  transport: string;
  port: number;
  local: NativeAddress;
  peer: NativeAddress;
}

export interface NativeCm {
  openCmChannel(): number | { errno: number; why: string };
  watchCmChannel(channel: number, callback: () => void): number;
  nextCmEvent(channel: number): NativeCmEvent | undefined | number;
  createCmId(channel: number, portSpace: number): number;
  describeCmId(id: number): NativeCmIdentity | number;
  bindCm(id: number, address: NativeAddress): number;
  listenCm(id: number, backlog: number): number;
  resolveCmAddress(
    id: number,
    source: NativeAddress | undefined,
    destination: NativeAddress,
    timeoutMs: number,
  ): number;
  resolveCmRoute(id: number, timeoutMs: number): number;
  connectCm(id: number, parameters: Uint32Array, privateData: Uint8Array): number;
  acceptCm(id: number, parameters: Uint32Array, privateData: Uint8Array): number;
  establishCm(id: number): number;
  disconnectCm(id: number): number;
  notifyCm(id: number): number;
  rejectCm(id: number, privateData: Uint8Array): number;
  setCmOption(id: number, option: number, value: number): number;
  cmQpAttributes(id: number, state: number, words: Uint32Array, gid: Uint8Array): number;
}

/** @throws RdmaError RDMA_ERR_NATIVE_MISSING */
export function nativeCm(): NativeAddon & NativeCm {
  return native() as NativeAddon & NativeCm;
}
