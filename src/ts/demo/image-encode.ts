// Picture to latent. Invariant: a block's latent depends on that block's 64 pixels only, and decoding it returns
// those pixels less their finest detail.

import { BLOCK, CHANNELS, CHROMA_ORDER, DCT, LATENT_CHANNELS, LUMA_ORDER, MAX_SIDE, PLANE_START } from './basis.js';
import { invalidArgument, requireInteger, requireLength } from './errors.js';

/** A picture in latent space: `latent` is [channels, latentHeight, latentWidth]; see basis.ts for the channels. */
export interface ImageLatent {
  latent: Float32Array;
  channels: number;
  latentWidth: number;
  latentHeight: number;
}

/**
 * Encodes an RGB picture.
 * @param pixels [height, width, 3], 0..255
 * @param width pixels, a multiple of 8 from 8 to 1024
 * @param height pixels, likewise
 * @returns a latent of about unit variance
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT when a side or the length of `pixels` does not fit.
 */
export function encodeImage(pixels: Uint8Array, width: number, height: number): ImageLatent {
  requireSide('width', width);
  requireSide('height', height);
  requireLength('pixels', pixels.length, width * height * 3, '[height, width, 3]');
  const latentWidth = width / BLOCK;
  const latentHeight = height / BLOCK;
  const area = latentWidth * latentHeight;
  const latent = new Float32Array(LATENT_CHANNELS * area);
  const planes = [new Float64Array(64), new Float64Array(64), new Float64Array(64)] as const;
  const half = new Float64Array(64);
  for (let by = 0; by < latentHeight; by++) {
    for (let bx = 0; bx < latentWidth; bx++) {
      readBlock(pixels, width, bx * BLOCK, by * BLOCK, planes[0], planes[1], planes[2]);
      const at = by * latentWidth + bx;
      transformBlock(planes[0], half, LUMA_ORDER, latent, PLANE_START[0], area, at);
      transformBlock(planes[1], half, CHROMA_ORDER, latent, PLANE_START[1], area, at);
      transformBlock(planes[2], half, CHROMA_ORDER, latent, PLANE_START[2], area, at);
    }
  }
  return { latent, channels: LATENT_CHANNELS, latentWidth, latentHeight };
}

function requireSide(name: string, side: number): void {
  requireInteger(name, side, BLOCK, MAX_SIDE);
  if (side % BLOCK !== 0) throw invalidArgument(name, `a multiple of ${BLOCK}`, side);
}

// RGB 0..255 to luma and colour differences in -1..1.
function readBlock(
  pixels: Uint8Array,
  width: number,
  left: number,
  top: number,
  luma: Float64Array,
  cb: Float64Array,
  cr: Float64Array,
): void {
  for (let y = 0; y < 8; y++) {
    let from = ((top + y) * width + left) * 3;
    for (let x = 0; x < 8; x++) {
      const red = pixels[from++] as number;
      const green = pixels[from++] as number;
      const blue = pixels[from++] as number;
      const light = 0.299 * red + 0.587 * green + 0.114 * blue;
      luma[y * 8 + x] = light / 127.5 - 1;
      cb[y * 8 + x] = ((blue - light) * 0.564) / 127.5;
      cr[y * 8 + x] = ((red - light) * 0.713) / 127.5;
    }
  }
}

// Rows first, then columns, and only the cosines that are kept.
function transformBlock(
  block: Float64Array,
  half: Float64Array,
  highest: number,
  latent: Float32Array,
  firstChannel: number,
  area: number,
  at: number,
): void {
  for (let y = 0; y < 8; y++) {
    for (let u = 0; u <= highest; u++) {
      let sum = 0;
      for (let x = 0; x < 8; x++) sum += (DCT[u * 8 + x] as number) * (block[y * 8 + x] as number);
      half[y * 8 + u] = sum;
    }
  }
  let channel = firstChannel;
  for (let order = 0; order <= highest; order++) {
    for (let v = 0; v <= order; v++) {
      const u = order - v;
      let sum = 0;
      for (let y = 0; y < 8; y++) sum += (DCT[v * 8 + y] as number) * (half[y * 8 + u] as number);
      latent[channel * area + at] = sum / (CHANNELS[channel]?.scale ?? 1);
      channel++;
    }
  }
}
