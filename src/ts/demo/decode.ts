// Latent clip to frames. Invariant: a frame's pixels are a function of that frame's latent and motion row alone, so
// frames can be decoded in any order and in any number of places.
//
//   latent --inverse cosine--> still picture --camera--> view --fog, grade, vignette, weather, grain--> RGB

import { BLOCK, CHANNELS, CHROMA_ORDER, DCT, LATENT_CHANNELS, LUMA_ORDER, MAX_SIDE, PLANE_START } from './basis.js';
import { clamp, ease, wave } from './curves.js';
import type { LatentClip } from './diffuse.js';
import { invalidArgument, requireInteger, requireLength } from './errors.js';
import { MOTION, MOTION_WIDTH } from './motion.js';
import { mix32, Random } from './random.js';

/**
 * Decodes the frames of a latent clip, or of any range of one.
 * @param clip what diffuse returned, or equal tensors
 * @returns RGB, [frameCount, 8 * latentHeight, 8 * latentWidth, 3], 0..255
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT when a tensor has another shape.
 */
export function decode(clip: LatentClip): Uint8Array {
  const { latent, motion, channels, latentWidth, latentHeight } = clip;
  const frameCount = requireInteger('frameCount', clip.frameCount, 1, 240);
  requireInteger('latentWidth', latentWidth, 1, MAX_SIDE / BLOCK);
  requireInteger('latentHeight', latentHeight, 1, MAX_SIDE / BLOCK);
  if (channels !== LATENT_CHANNELS) throw invalidArgument('channels', String(LATENT_CHANNELS), channels);
  const size = channels * latentWidth * latentHeight;
  requireLength('latent', latent.length, frameCount * size, '[frameCount, channels, latentHeight, latentWidth]');
  requireLength('motion', motion.length, frameCount * MOTION_WIDTH, '[frameCount, MOTION_WIDTH]');

  const width = latentWidth * BLOCK;
  const height = latentHeight * BLOCK;
  const still = emptyStill(width, height);
  const frameBytes = width * height * 3;
  const frames = new Uint8Array(frameCount * frameBytes);
  const linear = new Float32Array(frameBytes);
  for (let i = 0; i < frameCount; i++) {
    develop(latent.subarray(i * size, (i + 1) * size), latentWidth, latentHeight, still);
    const row = motion.subarray(i * MOTION_WIDTH, (i + 1) * MOTION_WIDTH);
    film(still, row, linear);
    if ((row[MOTION.snow] as number) > 0) addSnow(linear, width, height, row);
    if ((row[MOTION.rain] as number) > 0) addRain(linear, width, height, row);
    print(linear, width, height, row, frames.subarray(i * frameBytes, (i + 1) * frameBytes));
  }
  return frames;
}

/**
 * Decodes a latent as it is, without camera, grade or weather.
 * @param latent [channels, latentHeight, latentWidth]
 * @returns RGB, [8 * latentHeight, 8 * latentWidth, 3], 0..255
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT when the latent has another shape.
 */
export function decodeStill(latent: Float32Array, latentWidth: number, latentHeight: number): Uint8Array {
  requireInteger('latentWidth', latentWidth, 1, MAX_SIDE / BLOCK);
  requireInteger('latentHeight', latentHeight, 1, MAX_SIDE / BLOCK);
  requireLength(
    'latent',
    latent.length,
    LATENT_CHANNELS * latentWidth * latentHeight,
    '[channels, latentHeight, latentWidth]',
  );
  const width = latentWidth * BLOCK;
  const height = latentHeight * BLOCK;
  const still = emptyStill(width, height);
  develop(latent, latentWidth, latentHeight, still);
  const pixels = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    const light = ((still.luma[i] as number) + 1) / 2;
    const cb = still.cb[i] as number;
    const cr = still.cr[i] as number;
    const red = light + RED_OF_CR * cr;
    const blue = light + BLUE_OF_CB * cb;
    pixels[i * 3] = toByte(red * 255);
    pixels[i * 3 + 1] = toByte(((light - 0.299 * red - 0.114 * blue) / 0.587) * 255);
    pixels[i * 3 + 2] = toByte(blue * 255);
  }
  return pixels;
}

// A picture as luma -1..1 and colour differences about -1..1, [height, width] each.
interface Still {
  readonly width: number;
  readonly height: number;
  readonly luma: Float32Array;
  readonly cb: Float32Array;
  readonly cr: Float32Array;
}

function emptyStill(width: number, height: number): Still {
  return { width, height, luma: plane(width, height), cb: plane(width, height), cr: plane(width, height) };
}

// Colour differences are stored at 0.713 and 0.564 of full scale, and luma spans 2: see image-encode.ts.
const RED_OF_CR = 0.5 / 0.713;
const BLUE_OF_CB = 0.5 / 0.564;

function plane(width: number, height: number): Float32Array {
  return new Float32Array(width * height);
}

function toByte(value: number): number {
  return value <= 0 ? 0 : value >= 254.5 ? 255 : (value + 0.5) | 0;
}

function develop(latent: Float32Array, latentWidth: number, latentHeight: number, still: Still): void {
  const coefficients = new Float64Array(64);
  const half = new Float64Array(64);
  const planes = [still.luma, still.cb, still.cr] as const;
  for (const p of [0, 1, 2] as const) {
    const order = p === 0 ? LUMA_ORDER : CHROMA_ORDER;
    for (let by = 0; by < latentHeight; by++) {
      for (let bx = 0; bx < latentWidth; bx++) {
        const at = by * latentWidth + bx;
        inverseBlock(latent, PLANE_START[p], latentWidth * latentHeight, at, order, coefficients, half);
        const into = planes[p];
        for (let y = 0; y < 8; y++) {
          const row = (by * 8 + y) * still.width + bx * 8;
          for (let x = 0; x < 8; x++) into[row + x] = coefficients[y * 8 + x] as number;
        }
      }
    }
  }
}

// Columns first, then rows, of the kept cosines only; the block is left in `block`.
function inverseBlock(
  latent: Float32Array,
  firstChannel: number,
  area: number,
  at: number,
  order: number,
  block: Float64Array,
  half: Float64Array,
): void {
  for (let r = 0, channel = firstChannel; r <= order; r++) {
    for (let v = 0; v <= r; v++, channel++) {
      block[v * 8 + r - v] = (latent[channel * area + at] as number) * (SCALES[channel] as number);
    }
  }
  for (let u = 0; u <= order; u++) {
    for (let y = 0; y < 8; y++) {
      let sum = 0;
      for (let v = 0; v <= order - u; v++) sum += (DCT[v * 8 + y] as number) * (block[v * 8 + u] as number);
      half[y * 8 + u] = sum;
    }
  }
  for (let y = 0; y < 8; y++) {
    for (let x = 0; x < 8; x++) {
      let sum = 0;
      for (let u = 0; u <= order; u++) sum += (DCT[u * 8 + x] as number) * (half[y * 8 + u] as number);
      block[y * 8 + x] = sum;
    }
  }
}

const SCALES = Float64Array.from(CHANNELS, ({ scale }) => scale);

// Looks at the picture through the camera, then adds fog and grades: RGB about 0..1 into `linear`, [height, width, 3].
function film(still: Still, row: Float32Array, linear: Float32Array): void {
  const { width, height, luma, cb, cr } = still;
  const get = (index: number): number => row[index] as number;
  const zoom = Math.max(1, get(MOTION.zoom));
  const dx = get(MOTION.dx);
  const dy = get(MOTION.dy);
  const parallax = get(MOTION.parallax);
  const roll = get(MOTION.roll);
  const cosine = 1 - (roll * roll) / 2;
  const sine = roll - (roll * roll * roll) / 6;

  const exposure = get(MOTION.exposure);
  const gain = exposure >= 0 ? 1 + 0.8 * exposure : 1 / (1 - 1.6 * exposure);
  const warmth = get(MOTION.warmth);
  const tint = get(MOTION.tint);
  const redGain = gain * (1 + (warmth > 0 ? 0.24 : 0.26) * warmth) * (1 + 0.07 * tint);
  const greenGain = gain * (1 + (warmth > 0 ? -0.02 : 0.05) * warmth) * (1 - 0.15 * tint);
  const blueGain = gain * (1 - (warmth > 0 ? 0.32 : 0.2) * warmth) * (1 + 0.07 * tint);
  const slope = 1 + 0.6 * get(MOTION.contrast);
  const pivot = 0.45 * Math.min(1, gain);
  const saturation = get(MOTION.saturation) < 0 ? 1 + get(MOTION.saturation) : 1 + 0.9 * get(MOTION.saturation);
  const sepia = get(MOTION.sepia);
  const vignette = 0.75 * get(MOTION.vignette);
  const fog = get(MOTION.fog);
  const fogX = get(MOTION.fogX);
  const fogY = get(MOTION.fogY);
  const fogKey = get(MOTION.weatherKey);

  for (let y = 0; y < height; y++) {
    const v = (y + 0.5) / height - 0.5;
    const near = 1 + 2 * parallax * v; // 1 in the middle row, more below it, less above
    const scale = 1 / Math.max(1, zoom + (zoom - 1) * 0.5 * (near - 1));
    const offsetX = dx * near;
    // Source of pixel (x, y): a turn about the centre of the view, then the view's place in the picture.
    const stepX = scale * cosine;
    const stepY = scale * sine;
    const startX = (0.5 + offsetX) * width - scale * (cosine * (width / 2) - sine * v * height) + stepX / 2 - 0.5;
    // The row's place down the picture follows one scale, so that rows stay evenly spaced.
    const startY = (0.5 + dy) * height + (cosine * v * height) / zoom - (sine * (width / 2)) / zoom + stepY / 2 - 0.5;
    for (let x = 0; x < width; x++) {
      const sx = clamp(startX + x * stepX, 0, width - 1);
      const sy = clamp(startY + x * stepY, 0, height - 1);
      const x0 = sx | 0;
      const y0 = sy | 0;
      const fx = sx - x0;
      const fy = sy - y0;
      const a = y0 * width + x0;
      const b = x0 < width - 1 ? a + 1 : a;
      const c = y0 < height - 1 ? a + width : a;
      const d = c + b - a;
      const wa = (1 - fx) * (1 - fy);
      const wb = fx * (1 - fy);
      const wc = (1 - fx) * fy;
      const wd = fx * fy;
      let light =
        (luma[a] as number) * wa + (luma[b] as number) * wb + (luma[c] as number) * wc + (luma[d] as number) * wd;
      let blueness = (cb[a] as number) * wa + (cb[b] as number) * wb + (cb[c] as number) * wc + (cb[d] as number) * wd;
      let redness = (cr[a] as number) * wa + (cr[b] as number) * wb + (cr[c] as number) * wc + (cr[d] as number) * wd;
      const u = (x + 0.5) / width - 0.5;
      if (fog > 0) {
        const density = fog * fogDensity(u, v, fogX, fogY, fogKey);
        light += (0.52 - light) * density;
        blueness *= 1 - density;
        redness *= 1 - density;
      }
      const shade = (light + 1) / 2;
      const rawRed = shade + RED_OF_CR * redness;
      const rawBlue = shade + BLUE_OF_CB * blueness;
      const rawGreen = (shade - 0.299 * rawRed - 0.114 * rawBlue) / 0.587;
      let red = pivot + (rawRed * redGain - pivot) * slope;
      let green = pivot + (rawGreen * greenGain - pivot) * slope;
      let blue = pivot + (rawBlue * blueGain - pivot) * slope;
      const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
      red = grey + (red - grey) * saturation;
      green = grey + (green - grey) * saturation;
      blue = grey + (blue - grey) * saturation;
      if (sepia > 0) {
        red += (grey * 1.12 + 0.03 - red) * sepia;
        green += (grey * 0.97 + 0.01 - green) * sepia;
        blue += (grey * 0.74 - blue) * sepia;
      }
      const corner = (u * u + v * v) * 2;
      const dim = 1 - vignette * corner * (0.4 + 0.6 * corner);
      const to = (y * width + x) * 3;
      linear[to] = shoulder(red * dim);
      linear[to + 1] = shoulder(green * dim);
      linear[to + 2] = shoulder(blue * dim);
    }
  }
}

// Leaves shadows and middle tones; bends what is brighter than 0.85 so that it nears 1 instead of clipping.
function shoulder(value: number): number {
  if (value <= 0.85) return value;
  const over = (value - 0.85) / 0.15;
  return 0.85 + (0.15 * over) / (1 + 0.8 * over);
}

// Two octaves of drifting lumps, denser low down in the picture: 0.1 .. 1.
function fogDensity(u: number, v: number, fogX: number, fogY: number, key: number): number {
  const coarse = lumps(u * 2.4 + fogX * 3, v * 4 + fogY * 3, key);
  const fine = lumps(u * 6 + fogX * 8, v * 9 + fogY * 8, key + 1);
  return clamp(0.62 + 0.35 * v + 0.75 * (0.68 * coarse + 0.32 * fine - 0.5), 0.1, 1);
}

// Value noise: smooth between random values at whole numbers, 0..1.
function lumps(x: number, y: number, key: number): number {
  const ix = Math.floor(x);
  const iy = Math.floor(y);
  const fx = ease(x - ix);
  const fy = ease(y - iy);
  const top = corner(ix, iy, key) * (1 - fx) + corner(ix + 1, iy, key) * fx;
  const bottom = corner(ix, iy + 1, key) * (1 - fx) + corner(ix + 1, iy + 1, key) * fx;
  return top * (1 - fy) + bottom * fy;
}

function corner(ix: number, iy: number, key: number): number {
  return mix32(Math.imul(ix, 0x27d4eb2f) ^ Math.imul(iy, 0x165667b1) ^ key) / 0x100000000;
}

function fraction(value: number): number {
  return value - Math.floor(value);
}

function addSnow(linear: Float32Array, width: number, height: number, row: Float32Array): void {
  const amount = clamp(row[MOTION.snow] as number, 0, 1);
  const clock = row[MOTION.clock] as number;
  const random = new Random(row[MOTION.weatherKey] as number, 0x736e6f);
  const brightness = weatherLight(row);
  const flakes = Math.round(420 * amount);
  const unit = Math.max(width, height) / 320;
  for (let n = 0; n < flakes; n++) {
    const x0 = random.float();
    const y0 = random.float();
    const near = random.float() * random.float(); // most flakes are far: small, slow and faint
    const phase = random.float();
    const radius = (0.8 + 2.6 * near) * unit;
    const sway = (0.006 + 0.02 * near) * wave(clock * 0.45 + phase);
    const x = fraction(x0 + sway + clock * (0.02 + 0.03 * near)) * (width + 8) - 4;
    const y = fraction(y0 + clock * (0.14 + 0.34 * near)) * (height + 8) - 4;
    disc(linear, width, height, x, y, radius, 0.55 + 0.4 * near, brightness);
  }
}

// A soft round spot.
function disc(
  linear: Float32Array,
  width: number,
  height: number,
  cx: number,
  cy: number,
  radius: number,
  strength: number,
  brightness: number,
): void {
  const left = Math.max(0, Math.ceil(cx - radius));
  const right = Math.min(width - 1, Math.floor(cx + radius));
  const top = Math.max(0, Math.ceil(cy - radius));
  const bottom = Math.min(height - 1, Math.floor(cy + radius));
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const far = ((x - cx) * (x - cx) + (y - cy) * (y - cy)) / (radius * radius);
      if (far < 1) blend(linear, (y * width + x) * 3, strength * (1 - far * far), brightness);
    }
  }
}

function addRain(linear: Float32Array, width: number, height: number, row: Float32Array): void {
  const amount = clamp(row[MOTION.rain] as number, 0, 1);
  const clock = row[MOTION.clock] as number;
  const random = new Random(row[MOTION.weatherKey] as number, 0x726169);
  const brightness = 0.92 * weatherLight(row);
  const drops = Math.round(420 * amount);
  const slant = 0.16;
  for (let n = 0; n < drops; n++) {
    const x0 = random.float();
    const y0 = random.float();
    const near = random.float();
    const speed = 1.15 + 0.9 * near;
    const length = Math.max(3, Math.round((0.035 + 0.07 * near) * height));
    const fall = fraction(y0 + clock * speed);
    const top = fall * (height + length) - length;
    const start = fraction(x0 - (slant * clock * speed * height) / width) * width;
    const strength = 0.14 + 0.2 * near;
    for (let k = 0; k < length; k++) {
      const y = Math.floor(top + k);
      if (y < 0 || y >= height) continue;
      const x = start - slant * k;
      const x0i = Math.floor(x);
      const share = x - x0i;
      const fade = strength * (0.35 + (0.65 * k) / length);
      const left = ((x0i % width) + width) % width;
      blend(linear, (y * width + left) * 3, fade * (1 - share), brightness);
      blend(linear, (y * width + ((left + 1) % width)) * 3, fade * share, brightness);
    }
  }
}

// How bright falling weather looks in this frame's light.
function weatherLight(row: Float32Array): number {
  const exposure = row[MOTION.exposure] as number;
  return clamp(0.96 + 0.55 * Math.min(0, exposure), 0.4, 0.96);
}

function blend(linear: Float32Array, at: number, share: number, brightness: number): void {
  for (let c = 0; c < 3; c++) {
    linear[at + c] = (linear[at + c] as number) + share * (brightness - (linear[at + c] as number));
  }
}

// Adds the film's grain and rounds to bytes.
function print(linear: Float32Array, width: number, height: number, row: Float32Array, bytes: Uint8Array): void {
  const amount = 0.8 + 14 * (row[MOTION.grain] as number);
  const key = Math.imul(row[MOTION.grainKey] as number, 0x9e3779b1);
  for (let i = 0; i < width * height; i++) {
    const word = mix32(i ^ key);
    const grain = (((word & 0xffff) + (word >>> 16)) / 65535 - 1) * amount; // triangular, -amount .. amount
    bytes[i * 3] = toByte((linear[i * 3] as number) * 255 + grain);
    bytes[i * 3 + 1] = toByte((linear[i * 3 + 1] as number) * 255 + grain);
    bytes[i * 3 + 2] = toByte((linear[i * 3 + 2] as number) * 255 + grain);
  }
}
