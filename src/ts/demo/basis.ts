// The latent space. Invariant: image-encode, diffuse and decode agree on one table of channels, and a channel's
// values have about unit variance over photographs, so that unit noise covers every channel alike.
//
//   channel   0 .. 27   luma   cosines with u + v <= 6   (0 is the mean of the 8 x 8 block)
//   channel  28 .. 33   Cb     cosines with u + v <= 2
//   channel  34 .. 39   Cr     cosines with u + v <= 2
//
// u counts horizontal half waves, v vertical ones. A latent is [channels, height / 8, width / 8] float32.

/** Pixels along a side of the block that one latent position describes. */
export const BLOCK = 8;
/** Highest u + v that is kept, luma. */
export const LUMA_ORDER = 6;
/** Highest u + v that is kept, Cb and Cr. */
export const CHROMA_ORDER = 2;

/** One channel of the latent. */
export interface Channel {
  /** 0 luma, 1 Cb, 2 Cr. */
  readonly plane: 0 | 1 | 2;
  readonly u: number;
  readonly v: number;
  /** u + v. */
  readonly order: number;
  /** Orthonormal DCT coefficient = latent value * scale. */
  readonly scale: number;
}

/** All channels, in latent order. */
export const CHANNELS: readonly Channel[] = buildChannels();
/** First channel of luma, Cb and Cr. */
export const PLANE_START: readonly [number, number, number] = [
  0,
  countOf(LUMA_ORDER),
  countOf(LUMA_ORDER) + countOf(CHROMA_ORDER),
];
/** Number of channels in a latent. */
export const LATENT_CHANNELS = CHANNELS.length;
/** Highest picture side, pixels, that the demo works on. */
export const MAX_SIDE = 1024;

/** DCT[u * 8 + x]: the orthonormal 8-point cosine basis, from square roots alone. */
export const DCT: Float64Array = buildDct();

/** Where channel (plane, u, v) lies. */
export function channelIndex(plane: 0 | 1 | 2, u: number, v: number): number {
  const order = u + v;
  return PLANE_START[plane] + (order * (order + 1)) / 2 + v;
}

function countOf(order: number): number {
  return ((order + 1) * (order + 2)) / 2;
}

function buildChannels(): Channel[] {
  const channels: Channel[] = [];
  for (const plane of [0, 1, 2] as const) {
    const highest = plane === 0 ? LUMA_ORDER : CHROMA_ORDER;
    for (let order = 0; order <= highest; order++) {
      for (let v = 0; v <= order; v++) {
        const contrast = plane === 0 ? 1 : 0.3;
        const scale = order === 0 ? 4 * contrast : contrast / (0.5 + order * 0.8);
        channels.push({ plane, u: order - v, v, order, scale });
      }
    }
  }
  return channels;
}

function buildDct(): Float64Array {
  // cos(k pi / 16) for k = 0..8 by halving angles; the other quadrants by symmetry.
  const cosines = new Float64Array(9);
  cosines[0] = 1;
  cosines[4] = Math.sqrt(0.5);
  cosines[2] = Math.sqrt((1 + (cosines[4] as number)) / 2);
  cosines[6] = Math.sqrt((1 - (cosines[4] as number)) / 2);
  cosines[1] = Math.sqrt((1 + (cosines[2] as number)) / 2);
  cosines[7] = Math.sqrt((1 - (cosines[2] as number)) / 2);
  cosines[3] = Math.sqrt((1 + (cosines[6] as number)) / 2);
  cosines[5] = Math.sqrt((1 - (cosines[6] as number)) / 2);
  const table = new Float64Array(64);
  for (let u = 0; u < 8; u++) {
    const norm = u === 0 ? Math.sqrt(1 / 8) : 0.5;
    for (let x = 0; x < 8; x++) {
      let k = ((2 * x + 1) * u) % 32;
      if (k > 16) k = 32 - k;
      table[u * 8 + x] = norm * (k <= 8 ? (cosines[k] as number) : -(cosines[16 - k] as number));
    }
  }
  return table;
}
