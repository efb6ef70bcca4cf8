import t from 'tap';
import { decode, decodeStill } from '../../src/ts/demo/decode.js';
import { diffuse, diffusePasses, type LatentClip } from '../../src/ts/demo/diffuse.js';
import { DemoError } from '../../src/ts/demo/errors.js';
import { encodeImage } from '../../src/ts/demo/image-encode.js';
import { MOTION, MOTION_WIDTH } from '../../src/ts/demo/motion.js';
import { encodeText } from '../../src/ts/demo/text-encode.js';
import { channelMean, distance, drawPicture, HEIGHT, makeClip, makeFrames, WIDTH } from './fixtures.js';

const sameBits = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));
const frameBytes = WIDTH * HEIGHT * 3;
const motionOf = (prompt: string, index: number): number[] => {
  const { motion, frameCount } = makeClip({ prompt });
  return Array.from({ length: frameCount }, (_, i) => motion[i * MOTION_WIDTH + index] as number);
};

void t.test('a picture survives the way into the latent space and back', async (t) => {
  const pixels = drawPicture();
  const { latent, channels, latentWidth, latentHeight } = encodeImage(pixels, WIDTH, HEIGHT);
  t.same([latentWidth, latentHeight, latent.length], [WIDTH / 8, HEIGHT / 8, (channels * WIDTH * HEIGHT) / 64]);
  const back = decodeStill(latent, latentWidth, latentHeight);
  let square = 0;
  for (let i = 0; i < pixels.length; i++) square += ((pixels[i] as number) - (back[i] as number)) ** 2;
  const psnr = 10 * Math.log10((255 * 255 * pixels.length) / square);
  t.ok(psnr > 25, `${psnr.toFixed(1)} dB`);
});

void t.test('an even colour survives within one level', async (t) => {
  for (const colour of [
    [0, 0, 0],
    [255, 255, 255],
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [12, 200, 99],
  ]) {
    const pixels = Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => colour[i % 3] as number);
    const { latent, latentWidth, latentHeight } = encodeImage(pixels, 16, 16);
    const back = decodeStill(latent, latentWidth, latentHeight);
    t.ok(
      back.every((value, i) => Math.abs(value - (pixels[i] as number)) <= 1),
      colour.join(),
    );
  }
});

void t.test('the same input gives the same clip, bit for bit', async (t) => {
  const [one, other] = [makeClip(), makeClip()];
  t.ok(sameBits(one.latent, other.latent));
  t.ok(sameBits(one.motion, other.motion));
  t.equal(distance(decode(one), decode(other)), 0);
});

void t.test('ranges of frames are exact slices of the whole clip, in latents, motion and pixels', async (t) => {
  const prompt = 'heavy snow, fog, handheld, pan left';
  const whole = makeClip({ prompt });
  const frames = decode(whole);
  const size = whole.latent.length / whole.frameCount;
  for (const [firstFrame, frameCount] of [
    [0, 3],
    [3, 3],
    [1, 1],
    [5, 1],
    [0, 6],
  ] as const) {
    const part = makeClip({ prompt, firstFrame, frameCount });
    t.ok(sameBits(part.latent, whole.latent.subarray(firstFrame * size, (firstFrame + frameCount) * size)));
    t.ok(
      sameBits(part.motion, whole.motion.subarray(firstFrame * MOTION_WIDTH, (firstFrame + frameCount) * MOTION_WIDTH)),
    );
    const slice = frames.subarray(firstFrame * frameBytes, (firstFrame + frameCount) * frameBytes);
    t.equal(distance(decode(part), slice), 0);
  }
  t.equal(makeClip({ firstFrame: 4 }).frameCount, 2, 'without a count, the range goes to the end');
});

void t.test('another prompt, picture, seed or number of steps gives another clip', async (t) => {
  const base = makeFrames();
  t.ok(distance(base, makeFrames({ prompt: 'a quiet pond' })) > 1.5, 'unknown words shape the clip too');
  t.ok(distance(base, makeFrames({ prompt: 'zebra crossing' })) > 1.5);
  t.ok(distance(base, makeFrames({ prompt: 'a quiet lake ' })) > 0.3, 'even a space');
  t.ok(distance(base, makeFrames({ prompt: 'a quiet lake at night' })) > 15);
  t.ok(distance(base, makeFrames({ pixels: drawPicture(1) })) > 5);
  t.ok(distance(base, makeFrames({ seed: 2 })) > 0.5);
  t.ok(distance(base, makeFrames({ seed: 2 ** 32 + 1 })) > 0.5, 'the high half of a seed counts');
  t.ok(distance(base, makeFrames({ steps: 5 })) > 0);
});

void t.test('the clip is recognisably the picture, and each frame moves a little', async (t) => {
  const pixels = drawPicture();
  const frames = makeFrames({ prompt: 'static' });
  t.ok(distance(frames.subarray(0, frameBytes), pixels) < 25);
  for (let i = 1; i < 6; i++) {
    const step = distance(
      frames.subarray(i * frameBytes, (i + 1) * frameBytes),
      frames.subarray((i - 1) * frameBytes, i * frameBytes),
    );
    t.ok(step > 0.2 && step < 20, `frame ${i} differs by ${step}`);
  }
});

void t.test('passes are reported one by one, and lead where diffuse leads', async (t) => {
  const image = encodeImage(drawPicture(), WIDTH, HEIGHT);
  const seen: number[] = [];
  const yielded: number[] = [];
  const conditioning = encodeText('a quiet lake');
  const onStep = (done: number, steps: number): number => seen.push(done, steps);
  const passes = diffusePasses({ ...image, conditioning, frames: 6, steps: 3, seed: 1, onStep });
  let pass = passes.next();
  for (; !pass.done; pass = passes.next()) yielded.push(pass.value);
  t.same(seen, [1, 3, 2, 3, 3, 3]);
  t.same(yielded, [1, 2, 3]);
  t.ok(sameBits((pass.value as LatentClip).latent, makeClip({ steps: 3 }).latent));
});

void t.test('refinement leaves a trace of the seed, and no more than a trace', async (t) => {
  const trace = (steps: number): number => {
    const one = makeClip({ steps, seed: 1 }).latent;
    const other = makeClip({ steps, seed: 2 }).latent;
    let sum = 0;
    for (let i = 0; i < one.length; i++) sum += Math.abs((one[i] as number) - (other[i] as number));
    return sum / one.length; // two independent unit noises differ by 1.13 on average
  };
  const [hasty, usual, patient] = [trace(1), trace(12), trace(50)];
  t.ok(hasty < 0.4, `1 pass: ${hasty}`);
  t.ok(usual > 0.01 && usual < 0.12 && usual < hasty / 2, `12 passes: ${usual}`);
  t.ok(patient > 0.01 && patient < 0.12, `50 passes: ${patient}`);
});

void t.test('a prompt moves the camera the way it says', async (t) => {
  const first = (values: number[]): number => values[0] as number;
  const last = (values: number[]): number => values[values.length - 1] as number;
  const slow = motionOf('slow push in', MOTION.zoom);
  t.ok(last(slow) > first(slow) * 1.08);
  const fast = motionOf('fast push in', MOTION.zoom);
  t.ok(last(fast) / first(fast) > last(slow) / first(slow) + 0.1, 'fast goes further');
  const out = motionOf('zoom out', MOTION.zoom);
  t.ok(last(out) < first(out) * 0.9);
  const left = motionOf('pan left', MOTION.dx);
  t.ok(last(left) < first(left) - 0.08);
  const up = motionOf('tilt up', MOTION.dy);
  t.ok(last(up) < first(up) - 0.08);
  for (const prompt of ['pan left, fast', 'tilt up', 'rotate clockwise, handheld', 'static']) {
    t.ok(
      motionOf(prompt, MOTION.zoom).every((zoom) => zoom >= 1),
      `${prompt}: no view is wider than the picture`,
    );
  }
});

void t.test('a prompt grades the picture the way it says', async (t) => {
  const means = (prompt: string): number[] => [0, 1, 2].map((c) => channelMean(makeFrames({ prompt }), c));
  const [red, , blue] = means('static') as [number, number, number];
  const [warmRed, , warmBlue] = means('static, evening light') as [number, number, number];
  t.ok(warmRed - warmBlue > red - blue + 15, 'evening is warmer');
  const [coldRed, , coldBlue] = means('static, cold blue morning') as [number, number, number];
  t.ok(coldRed - coldBlue < red - blue - 15, 'a cold morning is bluer');
  const night = means('static, night');
  t.ok((night[0] as number) < red * 0.75, 'night is darker');
  const grey = makeFrames({ prompt: 'black and white, evening, snow' });
  for (let i = 0; i < grey.length; i += 3) {
    if (grey[i] !== grey[i + 1] || grey[i] !== grey[i + 2]) t.fail(`pixel ${i / 3} has colour`);
  }
  const spread = (pixels: Uint8Array): number => {
    const mean = channelMean(pixels, 1);
    let sum = 0;
    for (let i = 1; i < pixels.length; i += 3) sum += ((pixels[i] as number) - mean) ** 2;
    return Math.sqrt(sum / (pixels.length / 3));
  };
  t.ok(spread(makeFrames({ prompt: 'static, fog' })) < spread(makeFrames({ prompt: 'static' })) * 0.85, 'fog is flat');
});

void t.test('the smallest and the longest clips work', async (t) => {
  t.equal(makeFrames({ frames: 1, steps: 1 }).length, frameBytes);
  t.equal(makeFrames({ frames: 240, steps: 1 }).length, 240 * frameBytes);
  t.equal(makeFrames({ frames: 2, steps: 200 }).length, 2 * frameBytes);
  const tiny = encodeImage(new Uint8Array(16 * 64 * 3), 64, 16);
  t.equal(decode(diffuse({ ...tiny, conditioning: encodeText('storm'), frames: 2, steps: 2, seed: 0 })).length, 6144);
});

void t.test('a motion row full of nonsense is still decoded, and in bounded time', async (t) => {
  const clip = makeClip({ frames: 2 });
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e30, -1e30]) {
    clip.motion.fill(value);
    t.equal(decode(clip).length, 2 * frameBytes, String(value));
  }
});

void t.test('arguments out of range are refused with a code', async (t) => {
  const refused = { name: 'DemoError', code: 'DEMO_ERR_INVALID_ARGUMENT' };
  for (const wish of [
    { frames: 0 },
    { frames: 241 },
    { steps: 0 },
    { steps: 1.5 },
    { seed: -1 },
    { seed: Number.NaN },
    { firstFrame: 6 },
    { firstFrame: 3, frameCount: 4 },
    { latentWidth: 3 },
    { channels: 3 },
    { latent: new Float32Array(5) },
  ]) {
    t.throws(() => makeClip(wish), refused, JSON.stringify(wish));
  }
  t.throws(() => encodeImage(new Uint8Array(12), 12, 8), refused);
  t.throws(() => encodeImage(new Uint8Array(12), 8, 8), refused);
  const clip = makeClip();
  t.throws(() => decode({ ...clip, motion: clip.motion.subarray(1) }), refused);
  t.throws(() => decodeStill(clip.latent, 1, 1), refused);
  t.ok(new DemoError('DEMO_ERR_INVALID_ARGUMENT', 'two\nlines').message === 'two lines');
});
