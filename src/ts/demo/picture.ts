// Reading the user's picture. Invariant: a path gives either a whole upright RGB picture of the wanted size or a
// DemoError; what the file says about itself is checked before a pixel is decoded.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { MAX_SIDE } from './basis.js';
import { DemoError, invalidArgument, requireInteger } from './errors.js';
import { loadSharp } from './sharp.js';

/** Largest picture, pixels, that is decoded. */
export const MAX_PICTURE_PIXELS = 40_000_000;
/** Largest file, bytes, that is read. */
export const MAX_PICTURE_BYTES = 256 * 1024 * 1024;

/** An upright picture: `pixels` is [height, width, 3], RGB, 0..255. */
export interface Picture {
  width: number;
  height: number;
  pixels: Uint8Array;
}

/**
 * Reads a JPEG, PNG or WebP (of an animation, the first page), turns it upright, puts it on white where it is
 * transparent, and scales it: the longer side becomes `size` rounded down to a multiple of 16, the shorter side the
 * nearest multiple of 16, at least 16; what no longer fits is cut off evenly.
 * @param path of a regular file, at most 256 MiB and 40 megapixels
 * @param options `size`: pixels, 64..1024
 * @throws DemoError with one of the codes DEMO_ERR_INVALID_ARGUMENT, _NO_SUCH_FILE, _IS_DIRECTORY, _NOT_A_FILE,
 *   _UNREADABLE, _EMPTY_FILE, _TOO_LARGE, _NOT_AN_IMAGE, _UNSUPPORTED_FORMAT, _TRUNCATED, _SHARP_MISSING.
 */
export async function loadPicture(path: string, options: { size: number }): Promise<Picture> {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw invalidArgument('path', 'the path of a picture', path);
  }
  const size = requireInteger('size', options.size, 64, MAX_SIDE);
  await loadSharp();
  return decodePicture(path, await readRegularFile(path), { size });
}

/**
 * Tells whether bytes begin as a picture does that is read. Cheap: it decodes nothing.
 *
 * @param name names the picture in errors
 * @throws DemoError with one of the codes DEMO_ERR_EMPTY_FILE, _TOO_LARGE, _NOT_AN_IMAGE, _UNSUPPORTED_FORMAT,
 *   _TRUNCATED
 */
export function checkPicture(name: string, file: Buffer): void {
  if (file.length === 0) throw empty(name);
  if (file.length > MAX_PICTURE_BYTES) throw tooLarge(name, file.length);
  requireSupported(name, file);
}

/**
 * Reads a picture from its bytes, as {@link loadPicture} does from a file.
 *
 * @param path names the picture in errors
 * @param file the whole file
 * @throws DemoError as {@link loadPicture}
 */
export async function decodePicture(path: string, file: Buffer, options: { size: number }): Promise<Picture> {
  const size = requireInteger('size', options.size, 64, MAX_SIDE);
  const sharp = await loadSharp();
  checkPicture(path, file);

  const limits = { failOn: 'warning', limitInputPixels: false, sequentialRead: true } as const;
  let header: { width: number; height: number; autoOrient: { width: number; height: number } };
  try {
    header = await sharp(file, limits).metadata();
  } catch (cause) {
    throw truncated(path, cause);
  }
  if (header.width * header.height > MAX_PICTURE_PIXELS) {
    throw new DemoError(
      'DEMO_ERR_TOO_LARGE',
      `${path} is ${header.width} x ${header.height} pixels, more than 40 megapixels: scale it down first`,
    );
  }
  const { width, height } = fit(header.autoOrient.width, header.autoOrient.height, size);
  try {
    const { data, info } = await sharp(file, limits)
      .autoOrient()
      .flatten({ background: '#ffffff' })
      .resize(width, height, { fit: 'cover', position: 'centre' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width, height, pixels: toRgb(data, info.channels) };
  } catch (cause) {
    throw truncated(path, cause);
  }
}

// The sizes that a picture of w x h gets.
function fit(w: number, h: number, size: number): { width: number; height: number } {
  const long = size - (size % 16);
  const short = Math.max(16, Math.round((long * Math.min(w, h)) / Math.max(w, h) / 16) * 16);
  return w >= h ? { width: long, height: short } : { width: short, height: long };
}

function toRgb(data: Buffer, channels: number): Uint8Array {
  if (channels === 3) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const count = data.length / channels;
  const pixels = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) pixels[i * 3 + c] = data[i * channels + (channels >= 3 ? c : 0)] as number;
  }
  return pixels;
}

// Opens without waiting (a pipe has no writer yet), then asks the open file itself what it is.
async function readRegularFile(path: string): Promise<Buffer> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw unopened(path, cause);
  }
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) throw isDirectory(path);
    if (!stat.isFile()) {
      throw new DemoError('DEMO_ERR_NOT_A_FILE', `${path} is not a regular file: give a JPEG, PNG or WebP file`);
    }
    if (stat.size === 0) throw empty(path);
    if (stat.size > MAX_PICTURE_BYTES) throw tooLarge(path, stat.size);
    // Not readFile: that would follow a file that grows, or one whose size is a lie, without end.
    const file = Buffer.allocUnsafe(stat.size);
    let filled = 0;
    while (filled < file.length) {
      const { bytesRead } = await handle.read(file, filled, file.length - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    if (filled === 0) throw empty(path);
    return file.subarray(0, filled);
  } catch (cause) {
    if (cause instanceof DemoError) throw cause;
    throw unopened(path, cause);
  } finally {
    await handle.close();
  }
}

function unopened(path: string, cause: unknown): DemoError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new DemoError('DEMO_ERR_NO_SUCH_FILE', `${path} does not exist: check the path of the picture`, { cause });
    case 'EISDIR':
      return isDirectory(path);
    case 'ENXIO':
      return new DemoError('DEMO_ERR_NOT_A_FILE', `${path} is not a regular file: give a JPEG, PNG or WebP file`, {
        cause,
      });
    default:
      return new DemoError(
        'DEMO_ERR_UNREADABLE',
        `${path} cannot be read (${code}): give this user the right to read it, or copy it elsewhere`,
        { cause },
      );
  }
}

function isDirectory(path: string): DemoError {
  return new DemoError('DEMO_ERR_IS_DIRECTORY', `${path} is a directory: give a JPEG, PNG or WebP file in it`);
}

function tooLarge(path: string, bytes: number): DemoError {
  const mib = Math.ceil(bytes / 1048576);
  return new DemoError('DEMO_ERR_TOO_LARGE', `${path} is ${mib} MiB, more than 256 MiB: scale it down first`);
}

function empty(path: string): DemoError {
  return new DemoError('DEMO_ERR_EMPTY_FILE', `${path} is empty: give a JPEG, PNG or WebP file`);
}

function truncated(path: string, cause: unknown): DemoError {
  return new DemoError(
    'DEMO_ERR_TRUNCATED',
    `${path} is cut short or damaged: copy or export the picture again (${String((cause as Error)?.message ?? cause)})`,
    { cause },
  );
}

// The formats that are read, and those that are at least known by name.
const SIGNATURES: readonly { name: string; supported: boolean; at: number; bytes: string }[] = [
  { name: 'JPEG', supported: true, at: 0, bytes: '\xff\xd8\xff' },
  { name: 'PNG', supported: true, at: 0, bytes: '\x89PNG\r\n\x1a\n' },
  { name: 'WebP', supported: true, at: 8, bytes: 'WEBP' },
  { name: 'GIF', supported: false, at: 0, bytes: 'GIF8' },
  { name: 'TIFF', supported: false, at: 0, bytes: 'II*\0' },
  { name: 'TIFF', supported: false, at: 0, bytes: 'MM\0*' },
  { name: 'BMP', supported: false, at: 0, bytes: 'BM' },
  { name: 'AVIF', supported: false, at: 4, bytes: 'ftypavif' },
  { name: 'HEIC', supported: false, at: 4, bytes: 'ftyphei' },
  { name: 'HEIC', supported: false, at: 4, bytes: 'ftypmif1' },
  { name: 'JPEG XL', supported: false, at: 0, bytes: '\xff\x0a' },
  { name: 'JPEG XL', supported: false, at: 4, bytes: 'JXL ' },
  { name: 'JPEG 2000', supported: false, at: 4, bytes: 'jP  ' },
  { name: 'Photoshop', supported: false, at: 0, bytes: '8BPS' },
  { name: 'PDF', supported: false, at: 0, bytes: '%PDF' },
  { name: 'icon', supported: false, at: 0, bytes: '\0\0\x01\0' },
  { name: 'SVG', supported: false, at: 0, bytes: '<svg' },
  { name: 'MP4', supported: false, at: 4, bytes: 'ftyp' },
];

function requireSupported(path: string, file: Buffer): void {
  const head = file.subarray(0, 32).toString('latin1');
  for (const { name, supported, at, bytes } of SIGNATURES) {
    if (!head.startsWith(bytes, at)) continue;
    if (supported) return;
    throw new DemoError('DEMO_ERR_UNSUPPORTED_FORMAT', `${path} is ${name}: convert it to JPEG, PNG or WebP`);
  }
  if (
    file.length < 12 &&
    ['\xff\xd8', '\x89PNG', 'RIFF'].some((start) => head.startsWith(start.slice(0, file.length)))
  ) {
    throw truncated(path, new Error(`only ${file.length} bytes`));
  }
  throw new DemoError('DEMO_ERR_NOT_AN_IMAGE', `${path} is not a picture: give a JPEG, PNG or WebP file`);
}
