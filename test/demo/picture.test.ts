import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from './png-crc.js';
import sharp from 'sharp';
import t from 'tap';
import { loadPicture } from '../../src/ts/demo/picture.js';
import { loadSharp } from '../../src/ts/demo/sharp.js';
import { channelMean, drawPicture } from './fixtures.js';

const size = 64;

async function encoded(format: 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff', width = 192, height = 128): Promise<Buffer> {
  return sharp(drawPicture(0, width, height), { raw: { width, height, channels: 3 } })
    .toFormat(format)
    .toBuffer();
}

void t.test('JPEG, PNG and WebP are read and scaled to multiples of sixteen', async (t) => {
  const dir = t.testdir();
  for (const format of ['jpeg', 'png', 'webp'] as const) {
    const path = join(dir, `picture.${format}`);
    writeFileSync(path, await encoded(format));
    const picture = await loadPicture(path, { size: 320 });
    t.same([picture.width, picture.height, picture.pixels.length], [320, 208, 320 * 208 * 3]);
    t.ok(Math.abs(channelMean(picture.pixels, 0) - channelMean(drawPicture(0, 192, 128), 0)) < 4, format);
    t.same(await loadPicture(path, { size: 320 }), picture, 'twice the same');
  }
});

void t.test('any shape fits: tall, one pixel, a thin line, a size that is no multiple of sixteen', async (t) => {
  const dir = t.testdir();
  for (const [width, height, wide, tall] of [
    [128, 192, 64, 96],
    [1, 1, 96, 96],
    [3000, 1, 96, 16],
  ] as const) {
    const path = join(dir, `${width}.png`);
    writeFileSync(path, await encoded('png', width, height));
    const picture = await loadPicture(path, { size: 100 });
    t.same([picture.width, picture.height], [wide, tall]);
    t.equal(picture.pixels.length, wide * tall * 3);
  }
});

void t.test('a photograph that lies on its side is turned upright', async (t) => {
  const path = join(t.testdir(), 'turned.jpg');
  const image = sharp({ create: { width: 128, height: 64, channels: 3, background: '#000' } });
  const white = { create: { width: 64, height: 64, channels: 3 as const, background: '#fff' } };
  await image
    .composite([{ input: white, left: 0, top: 0 }])
    .withMetadata({ orientation: 6 })
    .jpeg()
    .toFile(path);
  const { width, height, pixels } = await loadPicture(path, { size });
  t.same([width, height], [32, 64]);
  t.ok((pixels[(8 * width + 16) * 3] as number) > 240, 'the left half is on top now');
  t.ok((pixels[(56 * width + 16) * 3] as number) < 15);
});

void t.test('grey, 16-bit, palette, CMYK and transparent pictures become RGB, on white', async (t) => {
  const dir = t.testdir();
  const base = (): sharp.Sharp => sharp(drawPicture(0, 96, 96), { raw: { width: 96, height: 96, channels: 3 } });
  await base().greyscale().png().toFile(join(dir, 'grey.png'));
  await base().toColourspace('rgb16').png().toFile(join(dir, 'deep.png'));
  await base().png({ palette: true }).toFile(join(dir, 'palette.png'));
  await base().toColourspace('cmyk').jpeg().toFile(join(dir, 'cmyk.jpg'));
  const clear = { r: 9, g: 9, b: 9, alpha: 0 };
  await sharp({ create: { width: 64, height: 64, channels: 4, background: clear } })
    .png()
    .toFile(join(dir, 'clear.png'));
  for (const name of ['grey.png', 'deep.png', 'palette.png', 'cmyk.jpg', 'clear.png']) {
    const { pixels } = await loadPicture(join(dir, name), { size });
    t.equal(pixels.length, size * size * 3, name);
    if (name === 'clear.png') t.ok(pixels.every((value) => value === 255));
  }
});

void t.test('what is no readable picture gets its own code and a one-line remedy', async (t) => {
  const dir = t.testdir();
  const put = (name: string, bytes: string | Buffer): string => {
    writeFileSync(join(dir, name), bytes);
    return join(dir, name);
  };
  mkdirSync(join(dir, 'folder'));
  execFileSync('mkfifo', [join(dir, 'pipe')]);
  const sparse = put('sparse.jpg', Buffer.from([0xff, 0xd8, 0xff, 0xe0]));
  truncateSync(sparse, 257 * 1024 * 1024);
  const jpeg = await encoded('jpeg');
  const png = await encoded('png');
  const webp = await encoded('webp');
  const half = (bytes: Buffer): Buffer => bytes.subarray(0, bytes.length >> 1);
  const cases: [string, string][] = [
    [join(dir, 'missing.jpg'), 'NO_SUCH_FILE'],
    [join(put('file', 'x'), 'below.jpg'), 'NO_SUCH_FILE'],
    [join(dir, 'folder'), 'IS_DIRECTORY'],
    [join(dir, 'pipe'), 'NOT_A_FILE'],
    ['/dev/zero', 'NOT_A_FILE'],
    [put('empty.jpg', ''), 'EMPTY_FILE'],
    [put('notes.jpg', 'these are notes'), 'NOT_AN_IMAGE'],
    [put('riff.webp', 'RIFF\0\0\0\0WAVEfmt '), 'NOT_AN_IMAGE'],
    [put('anim.gif', await encoded('gif')), 'UNSUPPORTED_FORMAT'],
    [put('scan.tiff', await encoded('tiff')), 'UNSUPPORTED_FORMAT'],
    [put('drawing.svg', '<svg xmlns="http://www.w3.org/2000/svg"/>'), 'UNSUPPORTED_FORMAT'],
    [put('half.jpg', half(jpeg)), 'TRUNCATED'],
    [put('half.png', half(png)), 'TRUNCATED'],
    [put('half.webp', half(webp)), 'TRUNCATED'],
    [put('short.jpg', jpeg.subarray(0, jpeg.length - 40)), 'TRUNCATED'],
    [put('short.png', png.subarray(0, png.length - 40)), 'TRUNCATED'],
    [put('short.webp', webp.subarray(0, webp.length - 40)), 'TRUNCATED'],
    [put('head.jpg', jpeg.subarray(0, 20)), 'TRUNCATED'],
    [put('stub.png', png.subarray(0, 10)), 'TRUNCATED'],
    [put('three.jpg', jpeg.subarray(0, 3)), 'TRUNCATED'],
    [sparse, 'TOO_LARGE'],
    [put('bomb.png', hugePng(20_000, 10_000)), 'TOO_LARGE'],
  ];
  for (const [path, code] of cases) {
    const started = process.hrtime.bigint();
    await t.rejects(loadPicture(path, { size }), { name: 'DemoError', code: `DEMO_ERR_${code}` }, `${path} ${code}`);
    t.ok(process.hrtime.bigint() - started < 5_000_000_000n, 'at once');
    const error = (await loadPicture(path, { size }).catch((e: unknown) => e)) as Error;
    t.ok(
      error.message.startsWith(path) && !error.message.includes('\n') && error.message.includes(': '),
      error.message,
    );
  }
});

void t.test('a file that this user may not read says so', async (t) => {
  const path = join(t.testdir({ 'secret.jpg': 'x' }), 'secret.jpg');
  chmodSync(path, 0);
  await loadSharp();
  const root = process.geteuid?.() === 0;
  if (root) process.seteuid?.(65534); // root may read everything
  const error = await loadPicture(path, { size }).catch((e: unknown) => e);
  if (root) process.seteuid?.(0);
  t.match(error, { name: 'DemoError', code: 'DEMO_ERR_UNREADABLE', message: /EACCES/ });
});

void t.test('sizes and paths that make no sense are refused', async (t) => {
  for (const bad of [0, 63, 1025, 64.5, Number.NaN, '64']) {
    await t.rejects(loadPicture('x.jpg', { size: bad as number }), { code: 'DEMO_ERR_INVALID_ARGUMENT' });
  }
  for (const bad of ['', 'a\0b', undefined]) {
    await t.rejects(loadPicture(bad as string, { size }), { code: 'DEMO_ERR_INVALID_ARGUMENT' });
  }
});

void t.test('without sharp, the error says how to get it', async (t) => {
  const absent = (): Promise<never> => Promise.reject(Object.assign(new Error('x'), { code: 'ERR_MODULE_NOT_FOUND' }));
  await t.rejects(loadSharp(absent), { code: 'DEMO_ERR_SHARP_MISSING', message: /not installed.*npm install sharp/ });
  await t.rejects(
    loadSharp(() => Promise.reject(new Error('no binary'))),
    { code: 'DEMO_ERR_SHARP_MISSING' },
  );
});

// A PNG that promises width x height pixels and holds none.
function hugePng(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const chunk = (type: string, data: Buffer): Buffer => {
    const out = Buffer.concat([Buffer.alloc(4), Buffer.from(type), data, Buffer.alloc(4)]);
    out.writeUInt32BE(data.length, 0);
    out.writeUInt32BE(crc32(out.subarray(4, out.length - 4)), out.length - 4);
    return out;
  };
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', Buffer.alloc(64)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
