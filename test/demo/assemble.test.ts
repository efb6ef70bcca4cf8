import sharp from 'sharp';
import t from 'tap';
import { assembleClip, type ClipOptions } from '../../src/ts/demo/assemble.js';
import { distance, HEIGHT, makeFrames, WIDTH } from './fixtures.js';

const frames = makeFrames();
const clip: ClipOptions = { frames, frameCount: 6, width: WIDTH, height: HEIGHT, fps: 8, format: 'webp' };

for (const format of ['webp', 'gif'] as const) {
  void t.test(`a ${format} has a page for every frame, their delays, and loops for ever`, async (t) => {
    const file = await assembleClip({ ...clip, format });
    const meta = await sharp(file, { animated: true }).metadata();
    t.match(meta, { format, width: WIDTH, pageHeight: HEIGHT, pages: 6, loop: 0 });
    const total = (meta.delay ?? []).reduce((sum, ms) => sum + ms, 0);
    t.equal(meta.delay?.length, 6);
    t.equal(total, 750, 'six frames at eight a second');
  });

  void t.test(`the same frames give the same ${format}, byte for byte`, async (t) => {
    t.ok((await assembleClip({ ...clip, format })).equals(await assembleClip({ ...clip, format })));
  });

  void t.test(`a ${format} shows the frames it was given`, async (t) => {
    const file = await assembleClip({ ...clip, format });
    const back = await sharp(file, { animated: true }).removeAlpha().raw().toBuffer();
    t.equal(back.length, frames.length);
    t.ok(distance(back, frames) < 8, String(distance(back, frames)));
  });

  void t.test(`one frame gives a still ${format}`, async (t) => {
    const file = await assembleClip({ ...clip, format, frameCount: 1, frames: frames.subarray(0, WIDTH * HEIGHT * 3) });
    t.match(await sharp(file).metadata(), { format, width: WIDTH, height: HEIGHT });
  });
}

void t.test('equal frames keep the clip as long as it should be', async (t) => {
  const still = frames.slice();
  still.copyWithin(still.length / 3, 0, still.length / 6); // frames 0 and 2 are the same,
  still.copyWithin(still.length / 2, 0, still.length / 6); // and so is 3
  for (const format of ['webp', 'gif'] as const) {
    const meta = await sharp(await assembleClip({ ...clip, frames: still, format }), { animated: true }).metadata();
    t.equal(
      (meta.delay ?? []).reduce((sum, ms) => sum + ms, 0),
      750,
      format,
    );
  }
});

void t.test('arguments that do not fit are refused with a code', async (t) => {
  const bad: Partial<ClipOptions>[] = [
    { frameCount: 5 },
    { frameCount: 0 },
    { fps: 0 },
    { fps: 51 },
    { width: 4 },
    { height: 2000 },
    { format: 'mp4' as 'gif' },
  ];
  for (const wish of bad) {
    await t.rejects(assembleClip({ ...clip, ...wish }), { code: 'DEMO_ERR_INVALID_ARGUMENT' }, JSON.stringify(wish));
  }
});
