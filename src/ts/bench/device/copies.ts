// Large WRITEs, beside a plain memcpy between the same two mappings.
//
// Invariant: the two alternate and copy the same bytes between the same places. A WRITE is timed from before its post
// to its polled completion. A digest by the receiving side shows that the bytes that arrived are those that were sent.
import { createHash } from 'node:crypto';
import { isRdmaError } from '../../core/errors.js';
import { type RemoteMapping, SendFlags } from '../../verbs/index.js';
import { timeCopy } from '../../addon/measuring.js';
import { median } from '../kit/statistics.js';
import { checkRemote, type RemoteMemory, type Side } from './side.js';
import { type Ending, pause, spinUntil } from './spin.js';

export interface CopySamples {
  writeUs: Float64Array;
  /** Undefined where no CPU copies. */
  memcpyUs: Float64Array | undefined;
  /** SHA-256 of what was written. */
  digest: string;
}

/** @param remote memory of the other side, at least `sizeBytes` */
export async function measureCopies(
  side: Side,
  remote: RemoteMemory,
  sizeBytes: number,
  rounds: number,
  ending: Ending,
): Promise<CopySamples> {
  checkRemote(remote);
  const source = side.register(sizeBytes);
  let pages: RemoteMapping | undefined;
  try {
    const bytes = new Uint8Array(source.buffer);
    fillPattern(bytes, sizeBytes);
    const { qp } = side;
    const fill = (bytesOf: number) => {
      const to = remote.address;
      qp.sends.write(0, 0, SendFlags.SIGNALED, to, remote.rkey, source.address, bytesOf, source.lkey);
    };
    fill(sizeBytes);
    pages = mapPages(side, remote, sizeBytes);
    const plainUs = pages && (() => timeCopy(pages!.buffer, source.buffer, sizeBytes) / 1000);
    const writeUs = new Float64Array(rounds);
    const memcpyUs = new Float64Array(plainUs ? rounds : 0);
    const warmUp = Math.max(2, Math.ceil(rounds / 10));
    for (let i = -warmUp; i < rounds; i++) {
      await pause(ending);
      // Each goes first as often as the other.
      const first = i % 2 === 0 ? plainUs?.() : undefined;
      const begin = performance.now();
      qp.postSend(1);
      spinUntil(() => side.takeSend());
      const took = (performance.now() - begin) * 1000;
      const plain = first ?? plainUs?.();
      if (i < 0) continue;
      writeUs[i] = took;
      if (plain !== undefined) memcpyUs[i] = plain;
    }
    // Once more with other bytes, so that it is the WRITE's that the other side is asked for.
    fillPattern(bytes, sizeBytes + 1);
    qp.postSend(1);
    spinUntil(() => side.takeSend());
    return { writeUs: writeUs.sort(), memcpyUs: plainUs ? memcpyUs.sort() : undefined, digest: digestOf(bytes) };
  } finally {
    pages?.close();
    source.close();
  }
}

/** How many times as fast as the memcpy the WRITE is, by their medians. */
export function copyRatio({ writeUs, memcpyUs }: CopySamples): number | null {
  return memcpyUs === undefined ? null : median([...memcpyUs]) / median([...writeUs]);
}

export function digestOf(...pieces: Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

/** Fills `bytes` with 32-bit words of which no two are equal. */
export function fillPattern(bytes: Uint8Array, seed: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + seed, 0x9e3779b1);
}

/** The memory that a WRITE to `remote` goes to, mapped here; undefined where no CPU copies. */
function mapPages(side: Side, remote: RemoteMemory, sizeBytes: number): RemoteMapping | undefined {
  try {
    return side.qp.mapRemote(remote.address, remote.rkey, sizeBytes);
  } catch (error) {
    if (isRdmaError(error) && error.code === 'ENOTSUP') return undefined;
    throw error;
  }
}
