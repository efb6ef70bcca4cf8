// The motion tensor: what the camera, the grade and the weather do in each frame. Invariant: a row is a function of
// the prompt's controls, the seed and the frame's number in the whole clip, never of which frames are made here;
// and the camera's view stays within the picture.

import { CONTROL } from './controls.js';
import { clamp, ease, wave } from './curves.js';
import { Random } from './random.js';

/** Index of each entry in a row of the motion tensor. */
export const MOTION = {
  /** Magnification, 1 or more. */
  zoom: 0,
  /** Centre of the view, right of the picture's centre, in picture widths. */
  dx: 1,
  /** Centre of the view, below the picture's centre, in picture heights. */
  dy: 2,
  /** Radians, clockwise. */
  roll: 3,
  /** How much further the bottom row moves than the middle row, as a share. */
  parallax: 4,
  /** Grade, fog, snow, rain, vignette, grain: as in controls.ts, at this moment. */
  exposure: 5,
  contrast: 6,
  saturation: 7,
  warmth: 8,
  tint: 9,
  sepia: 10,
  fog: 11,
  snow: 12,
  rain: 13,
  vignette: 14,
  grain: 15,
  /** How far the wind has carried the fog, in picture widths and heights. */
  fogX: 16,
  fogY: 17,
  /** Seconds that falling weather has fallen for. */
  clock: 18,
  /** 0 .. 2^24 - 1: key of this frame's grain. */
  grainKey: 19,
  /** 0 .. 2^24 - 1: key of the weather, the same in all frames. */
  weatherKey: 20,
} as const;

/** Entries in a row of the motion tensor. */
export const MOTION_WIDTH = 21;

const STREAM_CAMERA = 0x63616d;
const STREAM_GRAIN = 0x677261;
const NOMINAL_FPS = 10;

/** Progress of frame `frame` of `frames`: 0 at the first, 1 at the last, with a soft start and end. */
export function progress(frame: number, frames: number): number {
  const t = frames > 1 ? frame / (frames - 1) : 0.5;
  return 0.45 * t + 0.55 * ease(t);
}

/**
 * Writes the motion row of one frame.
 * @param row [MOTION_WIDTH], written
 * @param controls [CONTROL_COUNT]
 * @param frame 0 .. frames - 1
 * @param aspect width / height of the picture
 */
export function writeMotion(
  row: Float32Array,
  controls: Float32Array,
  frame: number,
  frames: number,
  seed: number,
  aspect: number,
): void {
  const get = (index: number): number => controls[index] as number;
  const e = progress(frame, frames);
  const across = 2 * e - 1;
  const pace = get(CONTROL.speed);
  const clock = (frame * (0.4 + 0.6 * pace)) / NOMINAL_FPS;
  const random = new Random(seed, STREAM_CAMERA);
  const parallax = 0.28 * get(CONTROL.parallax);

  const shake = 0.011 * get(CONTROL.shake);
  const sway = 0.0015;
  const phase = [random.float(), random.float(), random.float(), random.float()] as const;
  const panX = clamp(0.085 * get(CONTROL.panX) * pace, -0.17, 0.17) + 0.01 * get(CONTROL.driftX);
  const panY = clamp(-0.085 * get(CONTROL.panY) * pace, -0.17, 0.17) + 0.01 * get(CONTROL.driftY);
  const dx = panX * across + sway * wave(clock * 0.31 + phase[0]) + jitter(shake, clock, phase[1]);
  const dy = panY * across + sway * wave(clock * 0.27 + phase[2]) + jitter(shake, clock * 1.13, phase[3]);
  const rollSpan = clamp(0.11 * get(CONTROL.roll) * pace, -0.3, 0.3);
  const roll = rollSpan * across + 0.25 * jitter(shake, clock * 0.9, phase[2]);

  // Room for the whole path, so that the magnification changes only where the prompt asks for it.
  const reach = Math.max(Math.abs(panX), Math.abs(panY)) * (1 + parallax) + sway + 1.5 * shake;
  const turn = Math.abs(rollSpan) + 0.4 * shake;
  const room = (1 + turn * Math.max(aspect, 1 / aspect)) / (1 - 2 * reach);
  const zoom = get(CONTROL.zoom);
  const full = 1 + clamp(0.42 * Math.abs(zoom) * pace, 0, 1);
  const inward = zoom >= 0 ? e : 1 - e;
  const view = 1 + inward * (1 / full - 1); // the share of the picture that is seen, linear in time

  row[MOTION.zoom] = room / view;
  row[MOTION.dx] = dx;
  row[MOTION.dy] = dy;
  row[MOTION.roll] = roll;
  row[MOTION.parallax] = parallax;
  // The light goes where the prompt sends it during the clip: it starts at four fifths.
  const settle = 0.8 + 0.2 * e;
  row[MOTION.exposure] = get(CONTROL.exposure) * settle + 0.025 * get(CONTROL.glow) * wave(clock * 0.4 + phase[3]);
  row[MOTION.contrast] = get(CONTROL.contrast);
  row[MOTION.saturation] = get(CONTROL.saturation);
  row[MOTION.warmth] = get(CONTROL.warmth) * settle;
  row[MOTION.tint] = get(CONTROL.tint) * settle;
  row[MOTION.sepia] = get(CONTROL.sepia);
  row[MOTION.fog] = get(CONTROL.fog);
  row[MOTION.snow] = get(CONTROL.snow);
  row[MOTION.rain] = get(CONTROL.rain);
  row[MOTION.vignette] = get(CONTROL.vignette);
  row[MOTION.grain] = get(CONTROL.grain);
  row[MOTION.fogX] = clock * (0.06 + 0.08 * get(CONTROL.driftX)) + phase[0];
  row[MOTION.fogY] = clock * 0.03 * get(CONTROL.driftY) + phase[1];
  row[MOTION.clock] = clock;
  row[MOTION.grainKey] = new Random(seed, STREAM_GRAIN, frame, get(CONTROL.keyA), get(CONTROL.keyB)).uint32() >>> 8;
  row[MOTION.weatherKey] = new Random(seed, STREAM_GRAIN, get(CONTROL.keyB)).uint32() >>> 8;
}

function jitter(amount: number, clock: number, phase: number): number {
  return amount * (0.6 * wave(clock * 1.9 + phase) + 0.4 * wave(clock * 4.3 + 3 * phase));
}
