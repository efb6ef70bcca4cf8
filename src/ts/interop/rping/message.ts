// What rping's two sides say to each other: the message that advertises a buffer, and the text that is played.
//
// Invariant: byte for byte what rping of rdma-core sends.
//
//   0               8      12     16
//   | address u64   | rkey | size |      big-endian
import { RdmaError } from '../../core/errors.js';

export const MESSAGE_BYTES = 16;
/** rping's own limits are nearly these: 64 bytes hold its text, its buffers are 64 KiB. */
export const MIN_SIZE = 64;
export const MAX_SIZE = 65536;
export const DEFAULT_SIZE = 64;
export const DEFAULT_PORT = 7174;

/** A buffer of the peer. */
export interface Advertisement {
  address: number;
  rkey: number;
  size: number;
}

export function writeMessage(to: DataView, { address, rkey, size }: Advertisement): void {
  to.setBigUint64(0, BigInt(address));
  to.setUint32(8, rkey);
  to.setUint32(12, size);
}

/** @throws RdmaError RDMA_ERR_PROTOCOL for what no rping sends */
export function readMessage(from: DataView, byteLength: number): Advertisement {
  if (byteLength !== MESSAGE_BYTES) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', `the peer sent a message of ${byteLength} bytes; rping's have 16`);
  }
  return { address: Number(from.getBigUint64(0)), rkey: from.getUint32(8), size: from.getUint32(12) };
}

/**
 * What a client advertises; a server's go-ahead may hold anything.
 *
 * @throws RdmaError RDMA_ERR_PROTOCOL for what no rping sends
 */
export function checkAdvertisement(message: Advertisement): Advertisement {
  const { address, size } = message;
  if (Number.isSafeInteger(address) && size >= 1 && size <= MAX_SIZE) return message;
  throw new RdmaError('RDMA_ERR_PROTOCOL', `the peer advertised ${size} bytes at address ${address}`);
}

const FIRST = 65; // A
const LETTERS = 122 - FIRST + 1; // to z

/**
 * The text of ping `number`: `rdma-ping-7: `, then characters from A to z, which start one further each time, and 0.
 */
export function fillPing(bytes: Uint8Array, number: number): void {
  const head = Buffer.from(`rdma-ping-${number}: `, 'latin1');
  bytes.set(head.subarray(0, bytes.length));
  for (let i = head.length; i < bytes.length; i++) bytes[i] = FIRST + ((number + i - head.length) % LETTERS);
  bytes[bytes.length - 1] = 0;
}

/** The text up to its final 0, as rping prints it. */
export function pingText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1');
}
