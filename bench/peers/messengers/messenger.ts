// What a message system of Node.js must be able to do to be measured beside the rings.
//
// Invariant: one consumer (the hub) and any number of producers (dialers), each in a process of its own, and messages
// can go both ways; a peer is used in the way that its documentation recommends for speed.

/** A message in the pieces in which it came. */
export type Pieces = readonly Uint8Array[];
export type OnMessage = (message: Pieces) => void;

/** What both sides of a measurement know. */
export interface MessengerContext {
  /** A private folder for sockets. */
  folder: string;
  /** Where the peer's server is, if it has one. */
  service: string;
  sizeBytes: number;
  producers: number;
}

/** Both answer when the next message may be given: at once (undefined) or later. The message may be read until then. */
export interface Hub {
  send(to: number, message: Uint8Array): Promise<unknown> | undefined;
  close(): Promise<void>;
}
export interface Dialer {
  /** @param more another message follows at once, so that this one need not leave alone */
  send(message: Uint8Array, more: boolean): Promise<unknown> | undefined;
  close(): Promise<void>;
}

export interface Service {
  address: string;
  close(): Promise<void>;
}

export interface Messenger {
  /** How --compare names it. */
  name: string;
  /** What carries the bytes. */
  medium: string;
  /** The largest message that it is asked to carry. */
  maxBytes: number;
  /** Without it, nothing but the consumer's own speed limits what lies between the two: credits are given then. */
  hasBackPressure: boolean;
  /** Its name and version. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is not installed */
  version(): string;
  /** Starts its server. */
  serve?(folder: string, signal: AbortSignal | undefined): Promise<Service>;
  listen(context: MessengerContext, onMessage: OnMessage): Promise<Hub>;
  dial(context: MessengerContext, index: number, onMessage: OnMessage): Promise<Dialer>;
}

const WINDOW_BYTES = 64 * 2 ** 20;
const WINDOW_MESSAGES = 1024;

/** Messages of a producer that may be under way: bounded in number and in bytes. */
export function windowOf(sizeBytes: number): number {
  return Math.max(2, Math.min(WINDOW_MESSAGES, Math.floor(WINDOW_BYTES / sizeBytes)));
}

/** How many messages a credit allows. */
export function creditsOf(window: number): number {
  return Math.max(1, Math.floor(window / 4));
}
