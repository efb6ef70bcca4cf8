// Proves: whatever is wrong with what a person gives, the command says one clear line, ends with the right code, and
// leaves nothing behind.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { onepiece, PHOTO, scratch } from './command.js';

const folder = scratch();
copyFileSync(PHOTO, join(folder, 'photo.jpg'));
writeFileSync(join(folder, 'zero.jpg'), '');
writeFileSync(join(folder, 'text.jpg'), 'this is not a picture\n');
writeFileSync(join(folder, 'truncated.jpg'), readFileSync(PHOTO).subarray(0, 5000));
mkdirSync(join(folder, 'folder.jpg'));
mkdirSync(join(folder, 'folder.webp'));
execFileSync('mkfifo', [join(folder, 'pipe.jpg')]);

// The header of a PNG of 20 000 x 10 000 pixels; nobody may decode it.
function hugePng(): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(20_000, 0);
  header.writeUInt32BE(10_000, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const magic = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([magic, chunk('IHDR', header), chunk('IDAT', Buffer.alloc(64)), chunk('IEND', Buffer.alloc(0))]);
}

function crc(data: Buffer): number {
  if (typeof crc32 === 'function') return crc32(data);
  let value = -1;
  for (const byte of data) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return ~value >>> 0;
}
writeFileSync(join(folder, 'huge.png'), hugePng());

const output = ['--output', 'clip.webp'];
const cases: { what: string; args: string[]; code: number; says: RegExp }[] = [
  {
    what: 'a file that is not there',
    args: ['demo', 'nope.jpg', ...output],
    code: 1,
    says: /nope\.jpg does not exist/,
  },
  { what: 'a file that is no picture', args: ['demo', 'text.jpg', ...output], code: 1, says: /not a picture/ },
  { what: 'a truncated JPEG', args: ['demo', 'truncated.jpg', ...output], code: 1, says: /cut short or damaged/ },
  { what: 'a folder', args: ['demo', 'folder.jpg', ...output], code: 1, says: /is a directory/ },
  { what: 'a file of 0 bytes', args: ['demo', 'zero.jpg', ...output], code: 1, says: /is empty/ },
  { what: 'a named pipe', args: ['demo', 'pipe.jpg', ...output], code: 1, says: /pipe\.jpg/ },
  { what: '200 megapixels', args: ['demo', 'huge.png', ...output], code: 1, says: /40 megapixels/ },
  {
    what: 'an output that is a folder',
    args: ['demo', 'photo.jpg', '-o', 'folder.webp'],
    code: 1,
    says: /cannot write/,
  },
  {
    what: 'an output in no folder',
    args: ['demo', 'photo.jpg', '-o', 'no/clip.webp'],
    code: 1,
    says: /does not exist/,
  },
  {
    what: 'an output that cannot be',
    args: ['demo', 'photo.jpg', '-o', '/proc/clip.webp'],
    code: 1,
    says: /cannot write/,
  },
  { what: 'an unknown format', args: ['demo', 'photo.jpg', '-o', 'clip.mp4'], code: 2, says: /\.webp or \.gif/ },
  { what: 'no output', args: ['demo', 'photo.jpg'], code: 2, says: /--output/ },
  { what: 'no picture', args: ['demo', ...output], code: 2, says: /picture/ },
  {
    what: 'an unknown device',
    args: ['demo', 'photo.jpg', ...output, '--device', 'nic9'],
    code: 3,
    says: /no device nic9/,
  },
  { what: 'frames out of range', args: ['demo', 'photo.jpg', ...output, '--frames', '0'], code: 2, says: /1 to 240/ },
  {
    what: 'a size that is no number',
    args: ['demo', 'photo.jpg', ...output, '--size', '3e2'],
    code: 2,
    says: /64 to 1024/,
  },
  { what: 'an unknown option', args: ['demo', 'photo.jpg', ...output, '--frobnicate'], code: 2, says: /frobnicate/ },
  { what: 'an unknown command', args: ['frobnicate'], code: 2, says: /unknown command/ },
  { what: 'a bench size that is none', args: ['bench', 'ring-lat', '--size', '64q'], code: 2, says: /64,4k,1m/ },
  { what: 'a bench on no device', args: ['bench', 'ring-lat', '--device', 'nic9'], code: 3, says: /no device nic9/ },
];

const before = readdirSync(folder).sort();
for (const { what, args, code, says } of cases) {
  void t.test(`${what}: exit code ${code} and one clear line`, async (t) => {
    const ended = await onepiece(args, folder);
    t.equal(ended.code, code);
    t.equal(ended.stdout, '');
    const lines = ended.stderr.trimEnd().split('\n');
    t.match(lines[0], says);
    t.ok(lines.length === 1 || lines[1] === '(--help shows the options)', `no more than that: ${ended.stderr}`);
    t.strictSame(readdirSync(folder).sort(), before, 'nothing is left behind');
  });
}

void t.test('--help and --version are answered on stdout', async (t) => {
  for (const args of [['--help'], ['demo', '--help'], ['bench', 'ring-lat', '--help'], ['--version']]) {
    const ended = await onepiece(args, folder);
    t.equal(ended.code, 0);
    t.equal(ended.stderr, '');
    t.ok(ended.stdout.length > 4);
  }
});
