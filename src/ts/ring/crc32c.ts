// CRC-32C (Castagnoli), over whole 32-bit words.
//
// Invariant: equals the CRC of RFC 3720 (appendix B.4) over the same bytes in memory order; allocates nothing.

const POLYNOMIAL = 0x82f63b78; // reflected

/** Words of a block, without the one that holds its checksum. */
export const BLOCK_WORDS = 12;

// effects[(word * 4 + byte) * 256 + b]: by how much the checksum of a block changes when that byte of that word changes by b.
// The checksum is linear: a change of several bytes changes it by the sum, which is the exclusive or.
const effects = new Int32Array(BLOCK_WORDS * 4 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  effects[(BLOCK_WORDS * 4 - 1) * 256 + byte] = crc;
}
for (let at = BLOCK_WORDS * 4 - 2; at >= 0; at--) {
  for (let byte = 0; byte < 256; byte++) {
    const after = effects[(at + 1) * 256 + byte]!;
    effects[at * 256 + byte] = (after >>> 8) ^ effects[(BLOCK_WORDS * 4 - 1) * 256 + (after & 255)]!;
  }
}

/**
 * Computes the checksums of blocks of {@link BLOCK_WORDS} words, one after another. What costs time is where a block differs
 * from the one before: of the descriptors of a lane mostly two words do. The checksum is exact, whatever came before.
 */
export class BlockChecksum {
  /** The last block. */
  readonly words = new Int32Array(BLOCK_WORDS);
  private crc: number;

  constructor() {
    // Of zeros, by the definition.
    let crc = -1;
    for (let bit = 0; bit < BLOCK_WORDS * 32; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    this.crc = ~crc;
  }

  /**
   * The checksum of the words of `source` from `at` on. They are read once, and copied: it is that of the copy, whoever
   * writes the source meanwhile.
   *
   * @returns a signed 32-bit number, which never is an object
   * @see RFC 3720 section 12.1 and appendix B.4
   */
  of(source: Uint32Array, at: number): number {
    const { words } = this;
    let { crc } = this;
    for (let i = 0; i < BLOCK_WORDS; i++) {
      const word = source[at + i]! | 0;
      const change = word ^ words[i]!;
      if (change === 0) continue;
      words[i] = word;
      const base = i << 10;
      crc ^=
        effects[base + (change & 255)]! ^
        effects[base + 256 + ((change >>> 8) & 255)]! ^
        effects[base + 512 + ((change >>> 16) & 255)]! ^
        effects[base + 768 + (change >>> 24)]!;
    }
    this.crc = crc;
    return crc;
  }
}
