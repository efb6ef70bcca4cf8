// Invariant: the parser holds at most one header, one body of the current limit and one tag; it judges a header before
// it holds any byte of the body; after its first error it yields nothing ever again.

import { RdmaError } from '../core/errors.js';
import {
  FLAG_TAGGED,
  FRAME_MAGIC,
  FRAME_VERSION,
  type Frame,
  type FrameType,
  HEADER_BYTES,
  isFrameType,
  MAX_BODY_BYTES,
  MAX_HANDSHAKE_BODY_BYTES,
  TAG_BYTES,
} from './frame.js';

const MAGIC_BYTES = Buffer.alloc(4);
MAGIC_BYTES.writeUInt32BE(FRAME_MAGIC);

const EMPTY = new Uint8Array(0);

/**
 * Cuts a byte stream into frames, whatever pieces the stream arrives in. It knows no socket and no secret: tags are
 * handed out for others to verify.
 */
export class FrameParser {
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private headerFilled = 0;
  private type: FrameType | undefined;
  private bodyBytes = 0;
  private tagBytes = 0;
  private payload: Uint8Array = EMPTY;
  private payloadFilled = 0;
  private maxBody = MAX_HANDSHAKE_BODY_BYTES;
  private failure: RdmaError | undefined;

  /** Bytes held back until the rest of their frame arrives: less than HEADER_BYTES + limit + TAG_BYTES. */
  get bufferedBytes(): number {
    return this.headerFilled + this.payloadFilled;
  }

  /** Raises the limit on a body from MAX_HANDSHAKE_BODY_BYTES to MAX_BODY_BYTES, once the peer is authenticated. */
  trustPeer(): void {
    this.maxBody = MAX_BODY_BYTES;
  }

  /**
   * Takes the next piece of the stream.
   *
   * @param chunk any number of bytes; they are not kept after the call
   * @param onFrame called for each complete frame, in order; what it throws ends the parser and is thrown on
   * @throws RDMA_ERR_PROTOCOL when the bytes are no frame; RDMA_ERR_VERSION when they are a frame of another version;
   * after a first error, that error again
   */
  push(chunk: Uint8Array, onFrame: (frame: Frame) => void): void {
    if (this.failure !== undefined) throw this.failure;
    try {
      this.consume(chunk, onFrame);
    } catch (error) {
      this.failure =
        error instanceof RdmaError
          ? error
          : new RdmaError('RDMA_ERR_PROTOCOL', 'the stream was given up in the middle', { cause: error });
      this.payload = EMPTY;
      this.payloadFilled = 0;
      this.headerFilled = 0;
      throw error;
    }
  }

  private consume(chunk: Uint8Array, onFrame: (frame: Frame) => void): void {
    let offset = 0;
    while (true) {
      if (this.type === undefined) {
        offset += this.takeHeader(chunk, offset);
        if (this.type === undefined) return;
      }
      const need = this.bodyBytes + this.tagBytes;
      let payload: Uint8Array;
      if (this.payloadFilled === 0 && chunk.byteLength - offset >= need) {
        payload = chunk.subarray(offset, offset + need);
        offset += need;
      } else {
        offset += this.takePayload(chunk, offset, need);
        if (this.payloadFilled < need) return;
        payload = this.payload;
      }
      onFrame(this.finishFrame(this.type, payload));
    }
  }

  private finishFrame(type: FrameType, payload: Uint8Array): Frame {
    const body = payload.subarray(0, this.bodyBytes);
    const tag = this.tagBytes === 0 ? undefined : payload.subarray(this.bodyBytes);
    this.type = undefined;
    this.headerFilled = 0;
    this.payload = EMPTY;
    this.payloadFilled = 0;
    return { type, header: this.header, body, tag };
  }

  /** Returns how many bytes it took; a complete header is judged at once, its magic even before it is complete. */
  private takeHeader(chunk: Uint8Array, offset: number): number {
    const taken = Math.min(HEADER_BYTES - this.headerFilled, chunk.byteLength - offset);
    this.header.set(chunk.subarray(offset, offset + taken), this.headerFilled);
    this.headerFilled += taken;
    const known = Math.min(this.headerFilled, MAGIC_BYTES.byteLength);
    if (this.header.compare(MAGIC_BYTES, 0, known, 0, known) !== 0) {
      throw protocolError('the other side does not speak the bootstrap protocol: its first bytes are not the magic');
    }
    if (this.headerFilled === HEADER_BYTES) this.judgeHeader();
    return taken;
  }

  private judgeHeader(): void {
    const version = this.header.readUInt16BE(4);
    if (version !== FRAME_VERSION) {
      throw new RdmaError(
        'RDMA_ERR_VERSION',
        `the other side sends frames of version ${version}, this side reads version ${FRAME_VERSION}`,
        { remedy: 'run the same major version of this library on both sides' },
      );
    }
    const type = this.header.readUInt8(6);
    if (!isFrameType(type)) throw protocolError(`a frame has the unknown type ${type}`);
    const flags = this.header.readUInt8(7);
    if ((flags & ~FLAG_TAGGED) !== 0) throw protocolError(`a frame has the unknown flags ${flags}`);
    const bodyBytes = this.header.readUInt32BE(8);
    if (bodyBytes > this.maxBody) {
      throw protocolError(`a frame announces a body of ${bodyBytes} bytes; at most ${this.maxBody} are allowed`);
    }
    this.type = type;
    this.bodyBytes = bodyBytes;
    this.tagBytes = (flags & FLAG_TAGGED) !== 0 ? TAG_BYTES : 0;
  }

  private takePayload(chunk: Uint8Array, offset: number, need: number): number {
    const taken = Math.min(need - this.payloadFilled, chunk.byteLength - offset);
    if (taken === 0) return 0;
    if (this.payload.byteLength === 0) this.payload = new Uint8Array(need);
    this.payload.set(chunk.subarray(offset, offset + taken), this.payloadFilled);
    this.payloadFilled += taken;
    return taken;
  }
}

function protocolError(message: string): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', message);
}
