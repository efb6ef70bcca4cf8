// CRC-32C (Castagnoli), over whole 32-bit words.
//
// Invariant: equals the CRC of RFC 3720 (appendix B.4) over the same bytes in memory order; allocates nothing.

const POLYNOMIAL = 0x82f63b78; // reflected

// Four tables: tables[k * 256 + b] is the effect of byte b, k bytes before the end of a word.
const tables = new Int32Array(4 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  tables[byte] = crc;
}
for (let byte = 0; byte < 256; byte++) {
  for (let k = 1; k < 4; k++) {
    const before = tables[(k - 1) * 256 + byte]!;
    tables[k * 256 + byte] = (before >>> 8) ^ tables[before & 255]!;
  }
}

/**
 * The checksum of `count` little-endian words from `begin`.
 *
 * @param words memory as 32-bit words
 * @param begin index of the first word
 * @param count number of words
 * @returns the checksum as a signed 32-bit number, which never is an object
 * @see RFC 3720 section 12.1 and appendix B.4
 */
export function crc32c(words: Uint32Array, begin: number, count: number): number {
  let crc = -1;
  const end = begin + count;
  for (let i = begin; i < end; i++) {
    crc ^= words[i]!;
    crc =
      tables[768 + (crc & 255)]! ^
      tables[512 + ((crc >>> 8) & 255)]! ^
      tables[256 + ((crc >>> 16) & 255)]! ^
      tables[crc >>> 24]!;
  }
  return ~crc;
}
