// Pictures and measures that the demo's tests share. No test depends on a file outside its own temporary directory.

import { encodeImage } from '../../src/ts/demo/image-encode.js';
import { decode } from '../../src/ts/demo/decode.js';
import { diffuse, type DiffuseOptions, type LatentClip } from '../../src/ts/demo/diffuse.js';
import { encodeText } from '../../src/ts/demo/text-encode.js';

export const WIDTH = 96;
export const HEIGHT = 64;

/** A picture with soft slopes and hard edges; `variant` moves and colours them. */
export function drawPicture(variant = 0, width = WIDTH, height = HEIGHT): Uint8Array {
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const disc = (x - width * (0.4 + 0.2 * variant)) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2;
      const at = (y * width + x) * 3;
      pixels[at] = disc ? 210 : 40 + (120 * x) / width;
      pixels[at + 1] = disc ? 120 - 40 * variant : 60 + (100 * y) / height;
      pixels[at + 2] = disc ? 60 : 150 - (60 * x) / width;
    }
  }
  return pixels;
}

type Wish = Partial<Omit<DiffuseOptions, 'conditioning'>> & { prompt?: string; pixels?: Uint8Array };

/** A small clip in latent space. */
export function makeClip(wish: Wish = {}): LatentClip {
  const { prompt = 'a quiet lake', pixels = drawPicture(), ...rest } = wish;
  const image = encodeImage(pixels, WIDTH, HEIGHT);
  return diffuse({ ...image, conditioning: encodeText(prompt), frames: 6, steps: 4, seed: 1, ...rest });
}

/** The same, decoded: [frames, HEIGHT, WIDTH, 3]. */
export function makeFrames(wish: Wish = {}): Uint8Array {
  return decode(makeClip(wish));
}

/** Mean absolute difference of two equally long arrays of bytes. */
export function distance(a: Uint8Array, b: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs((a[i] as number) - (b[i] as number));
  return sum / a.length;
}

/** Mean of one channel (0 red, 1 green, 2 blue). */
export function channelMean(pixels: Uint8Array, channel: number): number {
  let sum = 0;
  for (let i = channel; i < pixels.length; i += 3) sum += pixels[i] as number;
  return sum / (pixels.length / 3);
}
