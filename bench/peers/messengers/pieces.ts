// What a consumer does with each message of a peer: the same as with one of ours.
//
// Invariant: every message is looked at: its length and ends always, every byte of it when it is to be touched.
import { RdmaError } from '../../../src/ts/core/errors.js';
import { checkEnds, checkSum, PATTERNS, readMessage, roundOf } from '../../../src/ts/bench/kit/payload.js';
import type { Pieces } from './messenger.js';

/** @throws RdmaError RDMA_ERR_PROTOCOL when it is not the message of the round */
export function takePieces(message: Pieces, sizeBytes: number, round: number, touched: boolean): void {
  let length = 0;
  for (const piece of message) length += piece.byteLength;
  if (length !== sizeBytes) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', `${length} bytes came where ${sizeBytes} were sent`);
  }
  const last = message[message.length - 1]!;
  checkEnds(message[0]![0]!, last[last.byteLength - 1]!, length, round);
  if (!touched) return;
  for (const piece of message) {
    const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
    checkSum(readMessage(view, 0, piece.byteLength), piece.byteLength, round);
  }
}

/**
 * The producer of a message, which is made of its byte.
 *
 * @throws RdmaError RDMA_ERR_PROTOCOL when there is no such producer
 */
export function producerOf(message: Pieces, producers: number): number {
  const producer = roundOf(message[0]?.[0] ?? -1);
  if (producer >= 0 && producer < Math.min(producers, PATTERNS)) return producer;
  throw new RdmaError('RDMA_ERR_PROTOCOL', 'a message of nobody has come');
}
