// CRC-32C (Castagnoli), over whole 32-bit words.
//
// Invariant: the result equals the CRC of RFC 3720 (appendix B.4) over the same bytes in memory order; it allocates
// nothing.

const POLYNOMIAL = 0x82f63b78; // reflected

/** Words of a block in memory, without the one that holds its checksum. */
export const BLOCK_WORDS = 12;
/** Its checksum is also that of one word which lies elsewhere, behind them. */
const ALL_WORDS = BLOCK_WORDS + 1;

// effects[(word * 4 + byte) * 256 + b]: by how much the checksum of a block changes when that byte of that word changes
// by b. The checksum is linear: a change of several bytes changes it by the sum, which is the exclusive or.
const effects = new Int32Array(ALL_WORDS * 4 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  effects[(ALL_WORDS * 4 - 1) * 256 + byte] = crc;
}
for (let at = ALL_WORDS * 4 - 2; at >= 0; at--) {
  for (let byte = 0; byte < 256; byte++) {
    const after = effects[(at + 1) * 256 + byte]!;
    effects[at * 256 + byte] = (after >>> 8) ^ effects[(ALL_WORDS * 4 - 1) * 256 + (after & 255)]!;
  }
}

// By how much a change of word `i` changes the checksum.
function effectOf(i: number, change: number): number {
  const base = i << 10;
  return (
    effects[base + (change & 255)]! ^
    effects[base + 256 + ((change >>> 8) & 255)]! ^
    effects[base + 512 + ((change >>> 16) & 255)]! ^
    effects[base + 768 + (change >>> 24)]!
  );
}

/**
 * The CRC-32C of `count` words of `source` from `at` on.
 *
 * @returns a signed 32-bit number, which never is an object
 * @see RFC 3720 section 12.1 and appendix B.4
 */
export function crc32cOfWords(source: Uint32Array, at: number, count: number): number {
  let crc = -1;
  // Each as the last word of a block, which nothing follows.
  for (let i = 0; i < count; i++) crc = effectOf(BLOCK_WORDS, source[at + i]! ^ crc);
  return ~crc;
}

/**
 * Computes the checksums of blocks of {@link BLOCK_WORDS} words and one more, one after another. What costs time is
 * where a block differs from the one before: of the descriptors of a lane mostly two words do. The checksum is exact,
 * whatever came before.
 */
export class BlockChecksum {
  /** The last block. */
  readonly words = new Int32Array(ALL_WORDS);
  private crc: number;

  constructor() {
    // Of zeros, by the definition.
    let crc = -1;
    for (let bit = 0; bit < ALL_WORDS * 32; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    this.crc = ~crc;
  }

  /**
   * The checksum of the words of `source` from `at` on, and of `more`. They are read once, and copied: it is that of
   * the copy, whoever writes the source meanwhile.
   *
   * @param more the last word, as a signed number
   * @returns a signed 32-bit number, which never is an object
   * @see RFC 3720 section 12.1 and appendix B.4
   */
  of(source: Uint32Array, at: number, more: number): number {
    const { words } = this;
    let { crc } = this;
    if (more !== words[BLOCK_WORDS]) {
      crc ^= effectOf(BLOCK_WORDS, more ^ words[BLOCK_WORDS]!);
      words[BLOCK_WORDS] = more;
    }
    for (let i = 0; i < BLOCK_WORDS; i++) {
      const word = source[at + i]! | 0;
      const change = word ^ words[i]!;
      if (change === 0) continue;
      words[i] = word;
      crc ^= effectOf(i, change);
    }
    this.crc = crc;
    return crc;
  }
}
