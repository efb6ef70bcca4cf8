// The sampler: from noise to a clip in latent space. Invariant: a frame's latent and motion are a function of the
// picture's latent, the conditioning, the seed, the numbers of frames and steps, and the frame's own number; so a
// range of frames is bit for bit the slice of the whole clip, whoever makes it.
//
// Each pass takes every frame from noise level s to the next lower s' (deterministic sampling as in DDIM):
//
//   clean  = target + gain * smooth(x - sqrt(1 - s^2) * target)     what the frame should become, as seen from here
//   noise  = (x - sqrt(1 - s^2) * clean) / s
//   x'     = sqrt(1 - s'^2) * clean + s' * noise
//
// In place of a network, `target` is the picture's latent under the prompt's light, tone and texture at that moment,
// and `gain` follows one word of the prompt after another. Coarse channels settle first, fine ones last; the last
// noise level is not zero, which leaves a trace of the seed as texture.

import { CHANNELS, channelIndex, DCT, LATENT_CHANNELS, LUMA_ORDER, MAX_SIDE, PLANE_START } from './basis.js';
import { CONTROL, CONTROL_COUNT } from './controls.js';
import { clamp, ease, wave } from './curves.js';
import { invalidArgument, requireInteger, requireLength } from './errors.js';
import { MOTION_WIDTH, progress, writeMotion } from './motion.js';
import { Random } from './random.js';
import { EMBEDDING_WIDTH, MAX_TOKENS, type TextConditioning } from './text-encode.js';

/** What diffuse takes. */
export interface DiffuseOptions {
  /** From encodeImage: [channels, latentHeight, latentWidth]. */
  latent: Float32Array;
  channels: number;
  latentWidth: number;
  latentHeight: number;
  /** From encodeText. */
  conditioning: TextConditioning;
  /** Frames of the whole clip, 1..240. */
  frames: number;
  /** Passes, 1..200. */
  steps: number;
  /** Any integer, 0 .. 2^53 - 1. */
  seed: number;
  /** First frame to make; 0 when not given. */
  firstFrame?: number | undefined;
  /** How many to make; all from firstFrame on when not given. */
  frameCount?: number | undefined;
  /** Called after each pass with the number of passes done, 1..steps. */
  onStep?: ((done: number, steps: number) => void) | undefined;
}

/** A clip, or a range of frames of one, in latent space. */
export interface LatentClip {
  /** [frameCount, channels, latentHeight, latentWidth] */
  latent: Float32Array;
  /** [frameCount, MOTION_WIDTH]; see motion.ts for the layout. */
  motion: Float32Array;
  frameCount: number;
  channels: number;
  latentWidth: number;
  latentHeight: number;
}

/**
 * Refines the frames firstFrame .. firstFrame + frameCount - 1 of a clip, in one go.
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT when an argument is out of range or a tensor has another shape.
 */
export function diffuse(options: DiffuseOptions): LatentClip {
  const passes = diffusePasses(options);
  for (;;) {
    const pass = passes.next();
    if (pass.done) return pass.value;
  }
}

/**
 * The same, one pass at a time: yields the number of passes done after each, so that a caller can serve other work in
 * between; returns the clip. Throws as diffuse does, at the first `next()`.
 */
export function* diffusePasses(options: DiffuseOptions): Generator<number, LatentClip, void> {
  const { latent, channels, latentWidth, latentHeight, conditioning, onStep } = options;
  const frames = requireInteger('frames', options.frames, 1, 240);
  const steps = requireInteger('steps', options.steps, 1, 200);
  const seed = requireInteger('seed', options.seed, 0, Number.MAX_SAFE_INTEGER);
  const firstFrame = requireInteger('firstFrame', options.firstFrame ?? 0, 0, frames - 1);
  const frameCount = requireInteger('frameCount', options.frameCount ?? frames - firstFrame, 1, frames - firstFrame);
  requireShapes(options);

  const area = latentWidth * latentHeight;
  const size = channels * area;
  const clip = new Float32Array(frameCount * size);
  fillNoise(clip, size, firstFrame, frameCount, seed);

  const scene = new Scene(latent, latentWidth, latentHeight, conditioning);
  const target = new Float32Array(size);
  const residual = new Float64Array(area);
  for (let step = 0; step < steps; step++) {
    for (let i = 0; i < frameCount; i++) {
      scene.paint(target, firstFrame + i, frames);
      const frame = clip.subarray(i * size, (i + 1) * size);
      refine(frame, target, residual, latentWidth, latentHeight, step, steps, conditioning);
    }
    onStep?.(step + 1, steps);
    yield step + 1;
  }

  const motion = new Float32Array(frameCount * MOTION_WIDTH);
  for (let i = 0; i < frameCount; i++) {
    const row = motion.subarray(i * MOTION_WIDTH, (i + 1) * MOTION_WIDTH);
    writeMotion(row, conditioning.controls, firstFrame + i, frames, seed, latentWidth / latentHeight);
  }
  return { latent: clip, motion, frameCount, channels, latentWidth, latentHeight };
}

function requireShapes(options: DiffuseOptions): void {
  const { latent, channels, latentWidth, latentHeight, conditioning } = options;
  requireInteger('latentWidth', latentWidth, 1, MAX_SIDE / 8);
  requireInteger('latentHeight', latentHeight, 1, MAX_SIDE / 8);
  if (channels !== LATENT_CHANNELS) throw invalidArgument('channels', String(LATENT_CHANNELS), channels);
  requireLength(
    'latent',
    latent.length,
    channels * latentWidth * latentHeight,
    '[channels, latentHeight, latentWidth]',
  );
  const tokens = requireInteger('conditioning.tokens', conditioning.tokens, 1, MAX_TOKENS);
  requireLength('conditioning.embedding', conditioning.embedding.length, tokens * EMBEDDING_WIDTH, '[tokens, 64]');
  requireLength('conditioning.controls', conditioning.controls.length, CONTROL_COUNT, '[CONTROL_COUNT]');
}

const STREAM_SHARED = 0x736861;
const STREAM_FRAME = 0x667261;

// Unit noise, of which the larger part is common to all frames: what is left of it moves with the picture.
function fillNoise(clip: Float32Array, size: number, firstFrame: number, frameCount: number, seed: number): void {
  const shared = new Float32Array(size);
  const random = new Random(seed, STREAM_SHARED);
  for (let k = 0; k < size; k++) shared[k] = random.gaussian();
  for (let i = 0; i < frameCount; i++) {
    const own = new Random(seed, STREAM_FRAME, firstFrame + i);
    const from = i * size;
    for (let k = 0; k < size; k++) clip[from + k] = 0.8 * (shared[k] as number) + 0.6 * own.gaussian();
  }
}

// Noise level of a channel when `done` of all passes are done: 1 at the start, the channel's trace at the end.
function noiseLevel(channel: number, done: number): number {
  const { plane, order } = CHANNELS[channel] as (typeof CHANNELS)[number];
  const trace = order === 0 ? 0.012 : plane === 0 ? 0.03 + 0.009 * order : 0.02;
  const late = plane === 0 ? order / LUMA_ORDER : order / 4;
  const left = 1 - ease(clamp(done * 1.4 - 0.4 * late, 0, 1));
  return trace + (1 - trace) * left;
}

// One pass over one frame, in place.
function refine(
  frame: Float32Array,
  target: Float32Array,
  residual: Float64Array,
  width: number,
  height: number,
  step: number,
  steps: number,
  conditioning: TextConditioning,
): void {
  const area = width * height;
  const word = (step % conditioning.tokens) * EMBEDDING_WIDTH;
  for (let channel = 0; channel < LATENT_CHANNELS; channel++) {
    const level = noiseLevel(channel, step / steps);
    const next = noiseLevel(channel, (step + 1) / steps);
    const keep = Math.sqrt(1 - level * level);
    const nextKeep = Math.sqrt(1 - next * next);
    const attention = clamp(conditioning.embedding[word + (channel % EMBEDDING_WIDTH)] as number, -2, 2);
    const gain = 0.3 * level * (1 + 0.35 * attention);
    const from = channel * area;
    for (let k = 0; k < area; k++) residual[k] = (frame[from + k] as number) - keep * (target[from + k] as number);
    for (let y = 0; y < height; y++) {
      const up = y > 0 ? -width : 0;
      const down = y < height - 1 ? width : 0;
      for (let x = 0; x < width; x++) {
        const k = y * width + x;
        const left = x > 0 ? k - 1 : k;
        const right = x < width - 1 ? k + 1 : k;
        const around =
          (residual[left] as number) +
          (residual[right] as number) +
          (residual[k + up] as number) +
          (residual[k + down] as number);
        const smooth = 0.5 * (residual[k] as number) + 0.125 * around;
        const clean = (target[from + k] as number) + gain * smooth;
        const noise = ((frame[from + k] as number) - keep * clean) / level;
        frame[from + k] = nextKeep * clean + next * noise;
      }
    }
  }
}

// A ramp of one unit a pixel over a block, as coefficients of the cosines 1, 3 and 5 along it.
const RAMP: readonly (readonly [order: number, weight: number])[] = [1, 3, 5].map((u) => {
  let sum = 0;
  for (let x = 0; x < 8; x++) sum += (DCT[u * 8 + x] as number) * (x - 3.5);
  return [u, sum * Math.sqrt(8)] as const;
});

interface Wave {
  readonly kx: number;
  readonly ky: number;
  readonly phase: number;
  readonly drift: number;
  readonly weight: number;
}

// The picture's latent under the prompt's light: the clean frame that the sampler is drawn to.
class Scene {
  private readonly gains: Float64Array;
  private readonly waves: readonly (readonly Wave[])[];
  private readonly field: Float64Array;

  constructor(
    private readonly latent: Float32Array,
    private readonly width: number,
    private readonly height: number,
    private readonly conditioning: TextConditioning,
  ) {
    const detail = this.control(CONTROL.detail);
    this.gains = Float64Array.from(CHANNELS, ({ order }) => Math.max(0.1, 1 + (0.025 + 0.09 * detail) * order));
    this.waves = [0, 1, 2].map((plane) => [0, 1, 2].map((n) => this.wave(plane, n)));
    this.field = new Float64Array((width + 2) * (height + 2));
  }

  private control(index: number): number {
    return this.conditioning.controls[index] as number;
  }

  // A plane wave whose direction, length and phase the first row of the embedding draws.
  private wave(plane: number, n: number): Wave {
    const row = this.conditioning.embedding;
    const at = 16 + plane * 15 + n * 5;
    const value = (k: number): number => clamp(row[at + k] as number, -2.5, 2.5);
    return {
      kx: 0.75 * value(0),
      ky: 0.75 * value(1),
      phase: value(2),
      drift: 0.3 * value(3) + 0.5 * this.control(CONTROL.driftX),
      weight: 1 + 0.3 * value(4),
    };
  }

  /** Writes the clean latent of a frame into `target`, [channels, latentHeight, latentWidth]. */
  paint(target: Float32Array, frame: number, frames: number): void {
    const area = this.width * this.height;
    for (let channel = 0; channel < LATENT_CHANNELS; channel++) {
      const gain = this.gains[channel] as number;
      const from = channel * area;
      for (let k = 0; k < area; k++) target[from + k] = gain * (this.latent[from + k] as number);
    }
    const e = progress(frame, frames);
    for (const plane of [0, 1, 2] as const) {
      this.paintField(plane, e);
      this.addField(target, plane);
    }
  }

  // What light and style add to a plane, at the centre of each block and one block beyond each edge.
  private paintField(plane: 0 | 1 | 2, e: number): void {
    const pace = Math.min(2, this.control(CONTROL.speed));
    const across = 2 * e - 1;
    const warmth = this.control(CONTROL.warmth);
    const grey = Math.min(0, this.control(CONTROL.saturation)) + 1;
    const glow = this.control(CONTROL.glow);
    const light = plane === 0 ? 0.3 * glow : plane === 1 ? -0.09 * glow * warmth : 0.07 * glow * warmth;
    const lightX = this.control(CONTROL.lightX) + 0.9 * this.control(CONTROL.lightDrift) * across * pace;
    const lightY = this.control(CONTROL.lightY);
    const style = this.control(CONTROL.style) * (plane === 0 ? 0.07 : 0.075 * grey);
    const waves = this.waves[plane] as readonly Wave[];
    const stride = this.width + 2;
    for (let y = -1; y <= this.height; y++) {
      const v = ((y + 0.5) / this.height) * 2 - 1;
      for (let x = -1; x <= this.width; x++) {
        const u = ((x + 0.5) / this.width) * 2 - 1;
        const far = ((u - lightX) * (u - lightX) + (v - lightY) * (v - lightY)) * 1.4;
        const pool = 1 / (1 + far);
        let sum = light * (pool * pool - 0.25);
        for (const { kx, ky, phase, drift, weight } of waves) {
          sum += style * weight * wave(0.5 * (kx * u + ky * v) + phase + drift * across);
        }
        this.field[(y + 1) * stride + x + 1] = sum;
      }
    }
  }

  // Adds the field, as a ramp within each block, so that no block has an edge.
  private addField(target: Float32Array, plane: 0 | 1 | 2): void {
    const area = this.width * this.height;
    const stride = this.width + 2;
    const mean = PLANE_START[plane] * area;
    const meanScale = 8 / (CHANNELS[PLANE_START[plane]] as (typeof CHANNELS)[number]).scale;
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        const k = y * this.width + x;
        const f = (y + 1) * stride + x + 1;
        target[mean + k] = (target[mean + k] as number) + meanScale * (this.field[f] as number);
      }
    }
    for (const [order, weight] of RAMP) {
      if (plane !== 0 && order > 1) break;
      const along = channelIndex(plane, order, 0);
      const down = channelIndex(plane, 0, order);
      const slope = weight / (16 * (CHANNELS[along] as (typeof CHANNELS)[number]).scale);
      for (let y = 0; y < this.height; y++) {
        for (let x = 0; x < this.width; x++) {
          const k = y * this.width + x;
          const f = (y + 1) * stride + x + 1;
          const gx = (this.field[f + 1] as number) - (this.field[f - 1] as number);
          const gy = (this.field[f + stride] as number) - (this.field[f - stride] as number);
          target[along * area + k] = (target[along * area + k] as number) + slope * gx;
          target[down * area + k] = (target[down * area + k] as number) + slope * gy;
        }
      }
    }
  }
}
