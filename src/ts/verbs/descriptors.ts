// Descriptors of memory, to be passed to a process that this one has started, so that it maps the same pages.
//
// Invariant: a descriptor that is looked up here stays its owner's, and is passed on before anything else can close it.
// The receiver has one of its own, which keeps the pages alive, whatever becomes of the owner.
import { errnoError } from '../core/errors.js';
import { native } from '../addon/native.js';
import type { Resource } from './resource.js';

/** Where pages lie: in this file, from this byte on. */
export interface Pages {
  readonly fd: number;
  readonly offset: number;
}

/** Two ends of a Unix socket that keeps messages apart. */
export interface ChannelPair {
  readonly ours: number;
  readonly theirs: number;
}

const owners = new WeakMap<ArrayBuffer, Resource>();

/** @internal Says whose memory a buffer shows. */
export function shows(buffer: ArrayBuffer, owner: Resource): void {
  if (!owners.has(buffer)) owners.set(buffer, owner);
}

/**
 * The file whose pages a buffer shows.
 *
 * @param buffer of a memory region, or of a mapping of a peer's memory
 * @returns undefined when they are of no file: memory of other devices, of JavaScript, or what is closed
 */
export function pagesOf(buffer: ArrayBuffer): Pages | undefined {
  const owner = owners.get(buffer);
  if (owner === undefined || owner.closed) return undefined;
  const found = native().descriptorOf(owner.handle);
  return typeof found === 'number' ? undefined : found;
}

/** A connected pair of sockets; the caller closes both. @throws RdmaError EMFILE @see socketpair(2) */
export function createChannelPair(): ChannelPair {
  const pair = native().createChannelPair();
  if (typeof pair === 'number') throw errnoError(pair, 'socketpair');
  return pair;
}

/**
 * Sends bytes with a descriptor, without waiting.
 *
 * @param socket an end of a {@link ChannelPair}
 * @param bytes 1 to 4096
 * @param fd of this process
 * @returns false when the receiver has too many messages to take: try it again later
 * @throws RdmaError EPIPE or ECONNRESET when the receiver has gone; EBADF
 * @see unix(7), SCM_RIGHTS
 */
export function sendDescriptor(socket: number, bytes: Uint8Array, fd: number): boolean {
  const rc = native().sendDescriptor(socket, bytes, fd);
  if (rc === 0) return true;
  const error = errnoError(rc, 'sendmsg');
  // Too many messages, or too many descriptors under way.
  if (error.code === 'EAGAIN' || error.code === 'ETOOMANYREFS') return false;
  throw error;
}
