// Writes multipart/mixed (RFC 2046, section 5.1.3), part by part, for answers whose parts come one after the other.
//
// Invariant: every part says its length, so that its reader need not look for the boundary in tensors; the last
// boundary comes when all of it was written, so that an answer that was cut is known by its absence.
import { randomBytes } from 'node:crypto';
import { JSON_TYPE } from './media.js';

/** The media type. */
export const MIXED_TYPE = 'multipart/mixed';

/** One answer. */
export class MixedWriter {
  private readonly boundary = `onepiece-${randomBytes(18).toString('hex')}`;

  /** Its Content-Type. */
  get contentType(): string {
    return `${MIXED_TYPE}; boundary=${this.boundary}`;
  }

  /** A part that is JSON. */
  json(document: object): Uint8Array[] {
    return this.part(JSON_TYPE, {}, Buffer.from(JSON.stringify(document)));
  }

  /** A part. @param headers beside its type and length; their values are visible ASCII, or percent-encoded */
  part(type: string, headers: Readonly<Record<string, string>>, content: Uint8Array): Uint8Array[] {
    const own = { 'Content-Type': type, 'Content-Length': String(content.byteLength), ...headers };
    const lines = Object.entries(own).map(([name, value]) => `${name}: ${value}\r\n`);
    return [Buffer.from(`--${this.boundary}\r\n${lines.join('')}\r\n`), content, CRLF];
  }

  /** The end. */
  end(): Uint8Array {
    return Buffer.from(`--${this.boundary}--\r\n`);
  }
}

const CRLF = Buffer.from('\r\n');
