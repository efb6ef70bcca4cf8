// Seeded random numbers. Invariant: the sequence is a function of the seed words alone, made of integer operations
// and exact scaling, so it repeats on every run and machine; streams with different words are unrelated.
// The generator is xoshiro128** (Blackman and Vigna); its state is filled by a 32-bit mixing counter.

/** Spreads every bit of a 32-bit word over all 32 bits of the result (a bijection). */
export function mix32(word: number): number {
  let x = word | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** A 32-bit hash of a string's UTF-16 units; `salt` selects one of many independent hashes. */
export function hashText(text: string, salt: number): number {
  let hash = mix32(salt ^ 0x5bd1e995) ^ text.length;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    hash = (hash << 13) | (hash >>> 19);
  }
  return mix32(hash);
}

/** A generator of random numbers, its sequence fixed by the words given to the constructor. */
export class Random {
  private a = 0;
  private b = 0;
  private c = 0;
  private d = 0;

  /** Any number of seed words; each may be any safe integer (both 32-bit halves count). */
  constructor(...words: number[]) {
    let key = 0x9e3779b9;
    for (const word of words) {
      const high = Math.floor(word / 0x100000000);
      key = mix32(key ^ mix32((word - high * 0x100000000) | 0)) + 0x632be5ab;
      key = mix32(key ^ mix32(high | 0)) + 0x632be5ab;
    }
    this.a = mix32(key + 0x9e3779b9);
    this.b = mix32(key + 0x3c6ef372);
    this.c = mix32(key + 0xdaa66d2b);
    this.d = mix32(key + 0x78dde6e4) | 1; // the all-zero state is the one that must not be
  }

  /** An integer, 0 to 2^32 - 1, uniform. */
  uint32(): number {
    const product = Math.imul(this.b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= shifted;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result;
  }

  /** A number in [0, 1), uniform, 32 bits of it. */
  float(): number {
    return this.uint32() / 0x100000000;
  }

  /** A number in [-1, 1), uniform. */
  signed(): number {
    return this.uint32() / 0x80000000 - 1;
  }

  /** A nearly normal number, mean 0, variance 1, within -4.9..4.9: the sum of eight uniform 16-bit halves. */
  gaussian(): number {
    let sum = 0;
    for (let i = 0; i < 4; i++) {
      const word = this.uint32();
      sum += (word & 0xffff) + (word >>> 16);
    }
    // Eight uniforms on 0..65535 have mean 8 * 32767.5 and variance 8 * (65536^2 - 1) / 12.
    return (sum - 262140) * GAUSSIAN_SCALE;
  }
}

const GAUSSIAN_SCALE = 1 / Math.sqrt((8 * (65536 * 65536 - 1)) / 12);
