// Frames to a clip. Invariant: the clip shows every frame given for 1000 / fps ms on average, and the same frames give
// the same bytes. (Frames that differ, as decoded ones always do, are a page each; WebP may join equal neighbours.)

import { MAX_SIDE } from './basis.js';
import { DemoError, invalidArgument, requireInteger, requireLength } from './errors.js';
import { loadSharp } from './sharp.js';

/** What assembleClip takes. */
export interface ClipOptions {
  /** RGB, [frameCount, height, width, 3], 0..255. */
  frames: Uint8Array;
  /** 1..240 */
  frameCount: number;
  /** Pixels, 8..1024. */
  width: number;
  /** Pixels, 8..1024. */
  height: number;
  /** Frames a second, 1..50. */
  fps: number;
  format: 'webp' | 'gif';
}

/**
 * Encodes frames as an animated WebP or GIF that loops for ever (one frame: a still picture).
 * @returns the file's bytes
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT, DEMO_ERR_SHARP_MISSING, or DEMO_ERR_ENCODE_FAILED when the encoder
 *   itself fails, for example for want of memory.
 */
export async function assembleClip(options: ClipOptions): Promise<Buffer> {
  const { frames, format } = options;
  const frameCount = requireInteger('frameCount', options.frameCount, 1, 240);
  const width = requireInteger('width', options.width, 8, MAX_SIDE);
  const height = requireInteger('height', options.height, 8, MAX_SIDE);
  const fps = requireInteger('fps', options.fps, 1, 50);
  if (format !== 'webp' && format !== 'gif') throw invalidArgument('format', '"webp" or "gif"', format);
  requireLength('frames', frames.length, frameCount * width * height * 3, '[frameCount, height, width, 3]');
  const sharp = await loadSharp();
  const image = sharp(frames, {
    limitInputPixels: false,
    raw: { width, height: height * frameCount, channels: 3, pageHeight: height },
  });
  const delay = pageDelays(frameCount, fps, format);
  const encoded =
    format === 'webp'
      ? image.webp({ quality: 84, effort: 2, smartSubsample: false, delay, loop: 0 })
      : image.gif({ effort: 2, dither: 0.6, keepDuplicateFrames: true, delay, loop: 0 });
  try {
    return await encoded.toBuffer();
  } catch (cause) {
    throw new DemoError(
      'DEMO_ERR_ENCODE_FAILED',
      `the ${format} encoder failed: try fewer frames or a smaller size (${(cause as Error).message})`,
      { cause },
    );
  }
}

// Milliseconds for each page; a GIF counts hundredths of a second. Rounding is spread so that it does not add up.
function pageDelays(frameCount: number, fps: number, format: 'webp' | 'gif'): number[] {
  const unit = format === 'gif' ? 10 : 1;
  const until = (page: number): number => Math.round((page * 1000) / fps / unit) * unit;
  return Array.from({ length: frameCount }, (_, page) => until(page + 1) - until(page));
}
