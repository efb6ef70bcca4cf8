// The kernel file the emulator boots.
// Invariant: it is either the distribution's bzImage as it came, or the ELF kernel inside it when the emulator can
// enter that directly, which saves the guest from unpacking itself on an emulated processor (3 s of 7 s).

import * as fs from 'node:fs';

import { unpack } from './unpack.mjs';

/** Offsets in the boot protocol's header (version 2.08 and later). */
const HEADER = { setupSectors: 0x1f1, magic: 0x202, version: 0x206, payloadOffset: 0x248, payloadLength: 0x24c };
const MAGIC = 'HdrS';
const SECTOR = 512;
const FORMATS = [
  { extension: '.xz', start: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), trailer: 4 },
  { extension: '.zst', start: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), trailer: 4 },
  { extension: '.gz', start: Buffer.from([0x1f, 0x8b]), trailer: 0 },
];
const ELF = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);
/** The note that names the 32-bit entry point: name size 4, value size 4 or 8, type 18, name "Xen". */
const ENTRY_NOTES = [4, 8].map((size) => Buffer.from([4, 0, 0, 0, size, 0, 0, 0, 18, 0, 0, 0, 0x58, 0x65, 0x6e, 0]));

/**
 * Writes the kernel to boot.
 * @param {string} bzImage @param {string} target @param {string} scratch a file name to work with
 * @param {AbortSignal} stop
 */
export async function placeKernel(bzImage, target, scratch, stop) {
  const elf = await extractElf(fs.readFileSync(bzImage), scratch, stop);
  if (elf === undefined) fs.copyFileSync(bzImage, target);
  else fs.writeFileSync(target, elf);
}

async function extractElf(image, scratch, stop) {
  const readable = image.toString('latin1', HEADER.magic, HEADER.magic + 4) === MAGIC;
  if (!readable || image.readUInt16LE(HEADER.version) < 0x208) return undefined;
  const begin = ((image[HEADER.setupSectors] || 4) + 1) * SECTOR + image.readUInt32LE(HEADER.payloadOffset);
  const payload = image.subarray(begin, begin + image.readUInt32LE(HEADER.payloadLength));
  const format = FORMATS.find(({ start }) => payload.subarray(0, start.length).equals(start));
  if (format === undefined) return undefined;
  fs.writeFileSync(`${scratch}${format.extension}`, payload.subarray(0, payload.length - format.trailer));
  if (!(await unpack(`${scratch}${format.extension}`, stop))) return undefined;
  const elf = fs.readFileSync(scratch);
  const enterable = elf.subarray(0, 4).equals(ELF) && ENTRY_NOTES.some((note) => elf.includes(note));
  return enterable ? elf : undefined;
}
