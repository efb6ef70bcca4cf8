// CRC-32C (Castagnoli), over whole 32-bit words.
//
// Invariant: equals the CRC of RFC 3720 (appendix B.4) over the same bytes in memory order; allocates nothing.

const POLYNOMIAL = 0x82f63b78; // reflected

// Eight tables: tables[k * 256 + b] is the effect of byte b, k bytes before the end of two words. With four, for one word at
// a time, each word would wait for the one before it; so it takes half of the time.
const tables = new Int32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  tables[byte] = crc;
}
for (let byte = 0; byte < 256; byte++) {
  for (let k = 1; k < 8; k++) {
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
  let i = begin;
  const end = begin + count;
  for (; i + 1 < end; i += 2) {
    const first = crc ^ words[i]!;
    const second = words[i + 1]!;
    crc =
      tables[1792 + (first & 255)]! ^
      tables[1536 + ((first >>> 8) & 255)]! ^
      tables[1280 + ((first >>> 16) & 255)]! ^
      tables[1024 + (first >>> 24)]! ^
      tables[768 + (second & 255)]! ^
      tables[512 + ((second >>> 8) & 255)]! ^
      tables[256 + ((second >>> 16) & 255)]! ^
      tables[second >>> 24]!;
  }
  if (i < end) {
    const word = crc ^ words[i]!;
    crc =
      tables[768 + (word & 255)]! ^
      tables[512 + ((word >>> 8) & 255)]! ^
      tables[256 + ((word >>> 16) & 255)]! ^
      tables[word >>> 24]!;
  }
  return ~crc;
}
