// Invariant: every frame after the handshake carries a tag over its direction, its place in the sequence, its header
// and its body; a frame that was changed, repeated, left out, reordered or sent back to its author does not open.

import { createHmac } from 'node:crypto';
import { RdmaError } from '../core/errors.js';
import { type Role, type SessionKeys, sameBytes } from './credentials.js';
import { encodeHeader, type Frame, type FrameType, TAG_BYTES } from './frame.js';

/** What both sides know once they have authenticated each other. It is a pure object: it knows no socket. */
export class Session {
  readonly peerName: string;
  /** The version both sides agreed on. */
  readonly version: number;
  readonly #role: Role;
  readonly #keys: SessionKeys;
  #sent = 0;
  #received = 0;

  /**
   * @param role which side this is
   * @param keys the session's keys
   * @param peerName what the other side calls itself
   * @param version the agreed version
   */
  constructor(role: Role, keys: SessionKeys, peerName: string, version: number) {
    this.#role = role;
    this.#keys = keys;
    this.peerName = peerName;
    this.version = version;
  }

  /**
   * Makes the next frame to send. Frames must go out in the order they were sealed.
   *
   * @param type what the frame says
   * @param body at most MAX_BODY_BYTES bytes
   * @returns header, body and tag
   */
  seal(type: FrameType, body: Uint8Array): Buffer {
    const header = encodeHeader(type, body.byteLength, true);
    const tag = this.#tag(this.#role, this.#sent, header, body);
    this.#sent += 1;
    return Buffer.concat([header, body, tag]);
  }

  /**
   * Verifies the next frame received.
   *
   * @param frame what the parser handed out
   * @returns the frame's body, now trusted to be the peer's
   * @throws RDMA_ERR_PROTOCOL when the tag is missing or is not the right one for this place in the sequence
   */
  open(frame: Frame): Uint8Array {
    const author: Role = this.#role === 'client' ? 'server' : 'client';
    const { header, body, tag } = frame;
    if (tag === undefined || !sameBytes(tag, this.#tag(author, this.#received, header, body))) {
      throw new RdmaError(
        'RDMA_ERR_PROTOCOL',
        `frame ${this.#received} of the session is not authentic: it was changed, repeated or forged on the way`,
      );
    }
    this.#received += 1;
    return body;
  }

  /** HMAC-SHA-256 (RFC 2104), truncated to its first 16 bytes. */
  #tag(author: Role, sequence: number, header: Uint8Array, body: Uint8Array): Buffer {
    const prefix = Buffer.allocUnsafe(9);
    prefix.writeUInt8(author === 'client' ? 0 : 1, 0);
    prefix.writeBigUInt64BE(BigInt(sequence), 1);
    const key = author === 'client' ? this.#keys.fromClient : this.#keys.fromServer;
    const hmac = createHmac('sha256', key);
    return hmac.update(prefix).update(header).update(body).digest().subarray(0, TAG_BYTES);
  }
}
