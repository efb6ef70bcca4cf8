// Invariant: one definition of the bytes on the wire. A frame is a 12-byte big-endian header {magic u32, version u16,
// type u8, flags u8, length u32}, `length` bytes of body, and, when the TAGGED flag is set, a 16-byte tag.

/** `OPRB`: tells this protocol from anything else that might connect to the port. */
export const FRAME_MAGIC = 0x4f505242;
/** The version of the frame layout itself; what is said in frames has its own version, agreed in the handshake. */
export const FRAME_VERSION = 1;
/** Bytes of a frame header. */
export const HEADER_BYTES = 12;
/** Bytes of the truncated HMAC-SHA-256 after an authenticated body (RFC 2104, section 5: at least half the hash). */
export const TAG_BYTES = 16;
/** Most bytes of a body, once the peer is authenticated. */
export const MAX_BODY_BYTES = 64 * 1024;
/** Most bytes of a body before that: a stranger can make this side hold no more than this. */
export const MAX_HANDSHAKE_BODY_BYTES = 1024;
/** Header flag: a tag follows the body. */
export const FLAG_TAGGED = 1;

/** What a frame says. */
export const FrameType = {
  /** Client: the versions it speaks, its nonce, the service it wants, its name. */
  HELLO: 1,
  /** Server: the version chosen, its nonce. */
  CHALLENGE: 2,
  /** Client: proof that it knows the secret. */
  PROOF: 3,
  /** Server: its own proof, and its name. */
  ACCEPT: 4,
  /** Either, tagged: one JSON document. */
  MESSAGE: 5,
  /** Either, tagged: nothing more will be said. */
  BYE: 6,
  /** Server, during the handshake: a code and words. */
  REFUSE: 7,
} as const;

/** One of the frame types. */
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** One frame as the parser hands it out. Its bytes are views that stay valid only until the callback returns. */
export interface Frame {
  readonly type: FrameType;
  /** The 12 header bytes as received. */
  readonly header: Uint8Array;
  readonly body: Uint8Array;
  /** The 16 tag bytes, or undefined when the frame has none. */
  readonly tag: Uint8Array | undefined;
}

/**
 * Writes a frame header.
 *
 * @param type what the frame says
 * @param bodyBytes bytes of the body, without the tag
 * @param tagged whether a tag follows the body
 * @returns 12 bytes
 */
export function encodeHeader(type: FrameType, bodyBytes: number, tagged: boolean): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE(FRAME_MAGIC, 0);
  header.writeUInt16BE(FRAME_VERSION, 4);
  header.writeUInt8(type, 6);
  header.writeUInt8(tagged ? FLAG_TAGGED : 0, 7);
  header.writeUInt32BE(bodyBytes, 8);
  return header;
}

/**
 * Writes a frame without a tag, as the handshake uses them.
 *
 * @param type what the frame says
 * @param body at most MAX_HANDSHAKE_BODY_BYTES bytes
 * @returns the whole frame
 */
export function encodePlainFrame(type: FrameType, body: Uint8Array): Buffer {
  return Buffer.concat([encodeHeader(type, body.byteLength, false), body]);
}

/**
 * Tells whether a number is a frame type.
 *
 * @param value the type byte of a header
 */
export function isFrameType(value: number): value is FrameType {
  return value >= FrameType.HELLO && value <= FrameType.REFUSE;
}
