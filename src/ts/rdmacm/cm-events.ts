// The events of rdma_cm, by name and in words.
//
// Invariant: numbers and names are those of rdma_cm_event_type in <rdma/rdma_cma.h>, without RDMA_CM_EVENT_.
import { PathWord } from '../addon/native.js';
import { type NativeCmEvent, ParameterWord } from './native-cm.js';

const names = [
  'ADDR_RESOLVED',
  'ADDR_ERROR',
  'ROUTE_RESOLVED',
  'ROUTE_ERROR',
  'CONNECT_REQUEST',
  'CONNECT_RESPONSE',
  'CONNECT_ERROR',
  'UNREACHABLE',
  'REJECTED',
  'ESTABLISHED',
  'DISCONNECTED',
  'DEVICE_REMOVAL',
  'MULTICAST_JOIN',
  'MULTICAST_ERROR',
  'ADDR_CHANGE',
  'TIMEWAIT_EXIT',
] as const;

/** The name of an event (rdma_event_str(3)). */
export type CmEventName = (typeof names)[number];

const words: Readonly<Record<CmEventName, string>> = {
  ADDR_RESOLVED: 'the address belongs to an RDMA device that is reachable from here',
  ADDR_ERROR: 'the address could not be resolved',
  ROUTE_RESOLVED: 'there is a route to the peer',
  ROUTE_ERROR: 'no route to the peer was found',
  CONNECT_REQUEST: 'a peer wants to connect',
  CONNECT_RESPONSE: 'the peer has accepted; the queue pair is not connected yet',
  CONNECT_ERROR: 'connecting failed',
  UNREACHABLE: 'the peer did not answer or cannot be reached',
  REJECTED: 'the peer has rejected the connection',
  ESTABLISHED: 'the connection is there',
  DISCONNECTED: 'the connection has ended',
  DEVICE_REMOVAL: 'the RDMA device has been removed',
  MULTICAST_JOIN: 'the multicast group has been joined',
  MULTICAST_ERROR: 'the multicast group could not be joined, or was left',
  ADDR_CHANGE: 'the network interface of the address now belongs to another RDMA device',
  TIMEWAIT_EXIT: 'no packet of the ended connection is under way any more: its queue pair number may be used again',
};

/** An event in words. @see rdma_get_cm_event(3) */
export function cmEventWords(name: CmEventName): string {
  return words[name];
}

/** What a peer said about its side of a connection (rdma_conn_param). */
export interface PeerParameters {
  /** READs and atomics that the peer answers at a time, as seen from here: what this side may have under way. */
  initiatorDepth: number;
  /** READs and atomics that the peer may have under way, as seen from here: what this side has to answer. */
  responderResources: number;
  flowControl: number;
  retryCount: number;
  rnrRetryCount: number;
  srq: boolean;
  qpNum: number;
}

/** How to reach a datagram queue pair: what an address handle and a datagram SEND need (rdma_ud_param). */
export interface DatagramTarget {
  qpNum: number;
  qkey: number;
  path: { -readonly [K in keyof typeof PathWord]: number };
  /** 32 hexadecimal digits. */
  gid: string;
}

/** One event, copied and acknowledged. */
export interface CmEvent {
  name: CmEventName;
  /** 0, a negative errno, or for REJECTED the reason (see rejectReasonWords). */
  status: number;
  /**
   * What the peer sent along. The wire carries a fixed size: it comes filled up with zeros to 56 bytes (request), 196
   * (response) or 148 (reject).
   */
  privateData: Uint8Array;
  parameters: PeerParameters | undefined;
  /** Of ESTABLISHED on a datagram id. */
  datagram: DatagramTarget | undefined;
}

/** @internal */
export function decodeEvent(event: NativeCmEvent): CmEvent {
  const { type, status, privateData, parameters: p, datagram: d } = event;
  const path = (at: Uint32Array) =>
    Object.fromEntries(Object.entries(PathWord).map(([name, index]) => [name, at[index] ?? 0]));
  return {
    name: names[type] ?? 'CONNECT_ERROR',
    status,
    privateData,
    parameters: p && {
      initiatorDepth: p[ParameterWord.initiatorDepth]!,
      responderResources: p[ParameterWord.responderResources]!,
      flowControl: p[ParameterWord.flowControl]!,
      retryCount: p[ParameterWord.retryCount]!,
      rnrRetryCount: p[ParameterWord.rnrRetryCount]!,
      srq: p[ParameterWord.srq] !== 0,
      qpNum: p[ParameterWord.qpNum]!,
    },
    datagram: d && {
      qpNum: d.qpNum,
      qkey: d.qkey,
      path: path(d.path) as DatagramTarget['path'],
      gid: Buffer.from(d.gid).toString('hex'),
    },
  };
}
