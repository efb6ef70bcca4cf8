// Invariant: what a stranger says is read field by field with fixed bounds, no JSON and no allocation it can choose; a
// body is accepted only when every byte of it is accounted for, so a message has exactly one encoding.

import { RdmaError } from '../core/errors.js';
import { NONCE_BYTES, PROOF_BYTES } from './credentials.js';

/** Most UTF-8 bytes of a name, a service or a refusal's words. */
export const MAX_TEXT_BYTES = 255;

/** The versions a side speaks, both inclusive, each from 0 to 65535. */
export interface VersionRange {
  readonly min: number;
  readonly max: number;
}

/** The client's first message. */
export interface Hello {
  readonly versions: VersionRange;
  readonly nonce: Uint8Array;
  readonly service: string;
  readonly name: string;
}

/** The server's answer to it. */
export interface Challenge {
  readonly version: number;
  readonly nonce: Uint8Array;
}

/** The server's last message: its name, and the proof that covers it. */
export interface Accept {
  readonly name: string;
  readonly proof: Uint8Array;
}

/** The server's last message when it does not accept. Nothing authenticates it, so it is only ever a hint. */
export interface Refuse {
  readonly code: string;
  readonly words: string;
}

/** Control characters and line separators, which a name must not carry into a log. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/u;

/**
 * Tells whether a text may go into a handshake message: at most 255 bytes of well-formed UTF-8 without control
 * characters.
 *
 * @param text any string
 */
export function isHandshakeText(text: string): boolean {
  const bytes = Buffer.from(text, 'utf8');
  return bytes.byteLength <= MAX_TEXT_BYTES && bytes.toString('utf8') === text && !CONTROL.test(text);
}

/** Writes a HELLO body: min u16, max u16, nonce, service, name; a text is its length u8 and its UTF-8 bytes. */
export function encodeHello(hello: Hello): Buffer {
  const versions = Buffer.alloc(4);
  versions.writeUInt16BE(hello.versions.min, 0);
  versions.writeUInt16BE(hello.versions.max, 2);
  return Buffer.concat([versions, hello.nonce, encodeText(hello.service), encodeText(hello.name)]);
}

/**
 * Reads a HELLO body.
 *
 * @throws RDMA_ERR_PROTOCOL when it is none
 */
export function decodeHello(body: Uint8Array): Hello {
  const reader = new BodyReader('HELLO', body);
  const versions = { min: reader.uint16(), max: reader.uint16() };
  const hello = { versions, nonce: reader.bytes(NONCE_BYTES), service: reader.text(), name: reader.text() };
  reader.end();
  if (versions.min > versions.max) throw malformed('HELLO', 'its versions run backwards');
  return hello;
}

/** Writes a CHALLENGE body: version u16, nonce. */
export function encodeChallenge(challenge: Challenge): Buffer {
  const version = Buffer.alloc(2);
  version.writeUInt16BE(challenge.version);
  return Buffer.concat([version, challenge.nonce]);
}

/**
 * Reads a CHALLENGE body.
 *
 * @throws RDMA_ERR_PROTOCOL when it is none
 */
export function decodeChallenge(body: Uint8Array): Challenge {
  const reader = new BodyReader('CHALLENGE', body);
  const challenge = { version: reader.uint16(), nonce: reader.bytes(NONCE_BYTES) };
  reader.end();
  return challenge;
}

/**
 * Reads a PROOF body, which is nothing but the proof.
 *
 * @throws RDMA_ERR_PROTOCOL when its length is not that of a proof
 */
export function decodeProof(body: Uint8Array): Uint8Array {
  const reader = new BodyReader('PROOF', body);
  const proof = reader.bytes(PROOF_BYTES);
  reader.end();
  return proof;
}

/** Writes an ACCEPT body: name, proof. */
export function encodeAccept(accept: Accept): Buffer {
  return Buffer.concat([encodeText(accept.name), accept.proof]);
}

/**
 * Reads an ACCEPT body.
 *
 * @throws RDMA_ERR_PROTOCOL when it is none
 */
export function decodeAccept(body: Uint8Array): Accept {
  const reader = new BodyReader('ACCEPT', body);
  const accept = { name: reader.text(), proof: reader.bytes(PROOF_BYTES) };
  reader.end();
  return accept;
}

/** Writes a REFUSE body: code, words. */
export function encodeRefuse(refuse: Refuse): Buffer {
  return Buffer.concat([encodeText(refuse.code), encodeText(refuse.words)]);
}

/**
 * Reads a REFUSE body.
 *
 * @throws RDMA_ERR_PROTOCOL when it is none
 */
export function decodeRefuse(body: Uint8Array): Refuse {
  const reader = new BodyReader('REFUSE', body);
  const refuse = { code: reader.text(), words: reader.text() };
  reader.end();
  return refuse;
}

/** Writes a text; the callers' checks keep it within the bounds of `isHandshakeText`. */
export function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([Buffer.of(bytes.byteLength), bytes]);
}

/** Reads a body from front to back; bytes are copied, as a frame's views do not outlive its callback. */
class BodyReader {
  private readonly what: string;
  private readonly body: Buffer;
  private offset = 0;

  constructor(what: string, body: Uint8Array) {
    this.what = what;
    this.body = Buffer.from(body);
  }

  bytes(count: number): Buffer {
    const end = this.offset + count;
    if (end > this.body.byteLength) throw malformed(this.what, 'it is too short');
    const bytes = this.body.subarray(this.offset, end);
    this.offset = end;
    return bytes;
  }

  uint16(): number {
    return this.bytes(2).readUInt16BE();
  }

  text(): string {
    const bytes = this.bytes(this.bytes(1).readUInt8());
    const text = bytes.toString('utf8');
    // A replacement character makes the round trip differ, so ill-formed UTF-8 is caught here.
    if (!Buffer.from(text, 'utf8').equals(bytes) || CONTROL.test(text)) {
      throw malformed(this.what, 'a text in it is not plain UTF-8');
    }
    return text;
  }

  end(): void {
    if (this.offset !== this.body.byteLength) throw malformed(this.what, 'it is too long');
  }
}

function malformed(what: string, why: string): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `a ${what} message is malformed: ${why}`);
}
