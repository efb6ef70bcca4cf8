// The outside world of rings: a device, a bootstrap connection and a clock.
//
// Invariant: ring code reaches the outside only through a port, so that the code that ships runs on any verbs
// device, and on a simulated one whose every delay, loss and death is decided by a seed. Nothing here is less
// strict than verbs: a port that lacks something throws, it does not pretend.
import type { Timers } from '../core/deadline.js';
import type { RdmaError } from '../core/errors.js';
import type { Completions, PortAddress, QueuePairEndpoint, SendRequests } from '../verbs/index.js';

/** Registered memory (a verbs MemoryRegion is one). */
export interface PortMemory {
  readonly buffer: ArrayBuffer;
  readonly address: number;
  readonly lkey: number;
  readonly rkey: number;
  /** Revokes the keys; after it no peer can change the memory. @throws RdmaError EBUSY when that is not proved yet */
  deregister(): void;
  close(): void;
}

/** A peer's memory, mapped here. */
export interface PortMapping {
  readonly buffer: ArrayBuffer;
  close(): void;
}

/** A reliable connected queue pair (a verbs QueuePair is one). */
export interface PortQueuePair {
  readonly qpNum: number;
  readonly sends: SendRequests;
  readonly capabilities: { readonly maxSendWr: number };
  readonly closed: boolean;
  endpoint(address: PortAddress): QueuePairEndpoint;
  toInit(address: PortAddress, access?: number): void;
  toReadyToReceive(address: PortAddress, remote: QueuePairEndpoint): void;
  toReadyToSend(): void;
  toError(): void;
  postSend(count: number): number;
  postEmptyReceives(count: number): void;
  /**
   * The mapping ends with `owner`, by default the queue pair's domain. @throws RdmaError ENOTSUP where peers share no
   * memory
   */
  mapRemote(address: number, rkey: number, bytes: number, owner?: PortDomain): PortMapping;
  close(): void;
}

/** A completion queue (a verbs CompletionQueue is one). */
export interface PortCompletionQueue {
  readonly completions: Completions;
  readonly capacity: number;
  readonly closed: boolean;
  poll(max?: number, looks?: number): number;
  requestNotify(solicitedOnly?: boolean): void;
  close(): void;
}

/** A protection domain; closing it closes what was made from it. */
export interface PortDomain {
  registerMemory(options: { bytes?: number; buffer?: Uint8Array; access?: number }): PortMemory;
  /** Registers what is mapped here; it ends with the mapping. @throws RdmaError ENOTSUP where peers share no memory */
  registerMapping(mapping: PortMapping, access: number): PortMemory;
  createQueuePair(options: { sendCq: PortCompletionQueue; maxSendWr?: number; maxRecvWr?: number }): PortQueuePair;
  close(): void;
}

/** An opened device (a verbs Device is one). */
export interface PortDevice {
  readonly name: string;
  readonly attributes: { readonly maxCqe: number; readonly maxQpWr: number };
  portAddress(): PortAddress;
  allocateProtectionDomain(): PortDomain;
  createCompletionChannel(onEvent: () => void): { close(): void };
  createCompletionQueue(capacity: number, channel?: { close(): void }): PortCompletionQueue;
  close(): void;
}

/** An authenticated connection for documents (a BootstrapChannel is one). */
export interface PortChannel {
  readonly peerName: string;
  readonly closed: boolean;
  readonly error: RdmaError | undefined;
  onMessage: ((document: unknown) => void) | undefined;
  onClose: ((error?: RdmaError) => void) | undefined;
  send(document: object): void;
  receive(options: { timeoutMs?: number; signal?: AbortSignal }): Promise<unknown>;
  close(): void;
  destroy(error?: RdmaError): void;
}

/** A connection that did not become a channel. */
export interface PortRejection {
  /** A word, by which they are counted. */
  readonly reason: string;
  readonly remoteAddress: { readonly host: string; readonly port: number };
  readonly error: RdmaError;
}

/** Where producers reach an inbox. */
export interface PortServer {
  readonly address: { host: string; port: number };
  /** Connections that have not proved yet that they know the secret. */
  readonly pending: number;
  /** Channels. */
  readonly peers: number;
  /** Processes of the same user and host have a way in that others cannot crowd. */
  readonly hasLocalSocket: boolean;
  readonly counters: { readonly rejectedByReason: Readonly<Record<string, number>> };
  close(): Promise<void>;
}

/** Time and turns. */
export interface Clock extends Timers {
  /** Calls once, when the event loop comes round. */
  soon(call: () => void): void;
}

/** All of it. */
export interface RingPort {
  readonly clock: Clock;
  /** 32 hexadecimal digits that nobody else has. */
  identity(): string;
  /** Opens a device by name, or takes one that is open; `owned` says whether it is to be closed by who asked. */
  device(device: unknown): { device: PortDevice; owned: boolean };
  listen(options: {
    host: string;
    port: number;
    secret: string | Uint8Array;
    service: string;
    maxPeers: number;
    onPeer: (channel: PortChannel) => void;
    onRejected?: (rejection: PortRejection) => void;
  }): Promise<PortServer>;
  connect(options: {
    host: string;
    port: number;
    secret: string | Uint8Array;
    service: string;
    name: string;
    timeoutMs: number;
    signal: AbortSignal;
  }): Promise<PortChannel>;
}
