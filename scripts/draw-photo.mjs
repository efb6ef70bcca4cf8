// Draws photo.jpg, the picture that the demo uses when none is given: node scripts/draw-photo.mjs [path]
// Everything in it is computed here, so the file is free of anybody's rights.
import sharp from 'sharp';

const scale = 2; // drawn so many times as large, then averaged
const W = 1280 * scale;
const H = 853 * scale;
const HORIZON = 0.56; // share of the height; the lake lies below

const hash = (n, m) => {
  let x = Math.imul(n, 0x27d4eb2f) ^ Math.imul(m, 0x165667b1);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39);
  return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
};
const mix = (a, b, t) => a + (b - a) * t;
const mixRgb = (a, b, t) => [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)];
const limit = (t) => Math.min(1, Math.max(0, t));
const smooth = (a, b, x) => {
  const t = limit((x - a) / (b - a));
  return t * t * (3 - 2 * t);
};
const noise = (x, y) => {
  const ix = Math.floor(x);
  const iy = Math.floor(y);
  const fx = smooth(0, 1, x - ix);
  const fy = smooth(0, 1, y - iy);
  return mix(mix(hash(ix, iy), hash(ix + 1, iy), fx), mix(hash(ix, iy + 1), hash(ix + 1, iy + 1), fx), fy);
};
const fbm = (x, y, octaves) => (octaves === 0 ? 0 : 0.5 * noise(x, y) + 0.5 * fbm(x * 2 + 17, y * 2 + 31, octaves - 1));

function sky(u, v) {
  let rgb = mixRgb([66, 122, 186], [236, 214, 190], smooth(0, HORIZON, v) ** 1.3);
  const far = Math.hypot((u - 0.69) * 1.5, v - 0.3);
  rgb = mixRgb(rgb, [255, 226, 176], 0.75 * Math.exp(-far * 7));
  if (far < 0.04) rgb = mixRgb(rgb, [255, 250, 232], smooth(0.04, 0.033, far));
  const cloud = smooth(0.44, 0.72, fbm(u * 5 + 3, v * 15, 6)) * smooth(0.5, 0.2, v);
  return mixRgb(rgb, mixRgb([206, 212, 226], [255, 246, 236], fbm(u * 9, v * 24 + 0.4, 4) * 1.2), cloud * 0.85);
}

// [height of the crest, roughness, step along, colour in light, colour in shade, height of the snow line]
const RANGES = [
  [0.235, 0.3, 2.6, [176, 190, 214], [128, 148, 186], 0.36],
  [0.33, 0.24, 4.2, [138, 152, 160], [84, 104, 132], 0.35],
  [0.43, 0.13, 5.5, [104, 130, 92], [56, 84, 82], 0],
  [0.5, 0.07, 8, [66, 96, 52], [32, 58, 46], 0],
];
const crest = (range, u) => {
  const [top, rough, step] = range;
  const shift = top * 40;
  const ridge = 1 - Math.abs(2 * fbm(u * step + shift, shift, 8) - 1) * 1.6;
  return top + rough * (0.62 - ridge * 0.62);
};

function firs(u, v, line, size, seed) {
  const cell = Math.floor(u / size);
  for (let n = cell - 1; n <= cell + 1; n++) {
    const tall = size * (2 + 3.2 * hash(n, seed));
    const across = Math.abs(u - (n + 0.2 + 0.6 * hash(n, seed + 1)) * size) * 1.5;
    const down = v - (line - tall);
    if (down <= 0 || down > tall * 1.1) continue;
    const tier = (down / tall) * 5;
    if (across < down * 0.2 * (0.6 + 0.55 * (tier % 1)) + 0.0004) return 0.35 + 0.65 * hash(Math.floor(tier), n);
  }
  return 0;
}

function land(u, v) {
  let rgb = sky(u, v);
  RANGES.forEach((range, n) => {
    const line = crest(range, u);
    if (v < line) return;
    // Lit from the right: the slope of a rough surface whose gullies run down and outward from the crest.
    const lean = u + 1.2 * (v - line) * (noise(u * range[2] * 2, n) - 0.5);
    const rock = (x, y) => fbm(x * range[2] * 5, y * range[2] * 2.2 + n * 9, 6) + 0.35 * fbm(x * 70, y * 60, 3);
    const grain = rock(lean, v);
    const light = limit(0.5 + (grain - rock(lean + 0.006, v - 0.004)) * 9);
    rgb = mixRgb(range[4], range[3], light);
    const snow = smooth(-0.02, 0.03, range[5] - v + (grain - 0.6) * 0.2 - (v - line) * 0.5);
    if (range[5] > 0) rgb = mixRgb(rgb, mixRgb([148, 170, 212], [252, 248, 244], light), snow);
    rgb = mixRgb(rgb, [214, 208, 204], limit((v - line) * 2.2) * (0.5 - 0.13 * n)); // haze in the valleys
  });
  for (const near of [0, 1]) {
    const line = 0.545 + 0.015 * near;
    const tree = firs(u, v, line + 0.012 * noise(u * 9, near), 0.008 + 0.004 * near, near + 5);
    if (tree > 0 || v > line + 0.012) rgb = mixRgb([23, 48, 39], [64, 99, 60], tree - 0.3 * near);
  }
  // A red cabin on the far shore.
  const [x, y] = [(u - 0.23) * 1.5, v - HORIZON];
  if (Math.abs(x) < 0.028 && y > -0.042)
    rgb = Math.abs(x + 0.008) < 0.006 && y > -0.026 ? [252, 214, 120] : [158 + 30 * noise(u * 700, 3), 44, 34];
  if (y > -0.068 && y < -0.034 && Math.abs(x) < (y + 0.07) * 1.05) rgb = [74, 62, 62];
  return rgb;
}

function scene(u, v) {
  let rgb;
  if (v < HORIZON) rgb = land(u, v);
  else {
    const depth = (v - HORIZON) / (1 - HORIZON);
    const ripple = fbm(u * mix(60, 12, depth), (v - HORIZON) * mix(900, 160, depth), 4) - 0.5;
    const mirror = HORIZON - (v - HORIZON) * 0.9 + ripple * mix(0.006, 0.09, depth);
    const reflected = land(u + ripple * 0.012, Math.min(HORIZON - 0.001, Math.max(0, mirror)));
    rgb = mixRgb(reflected, [38, 78, 104], 0.26 + 0.3 * depth);
    const glint = Math.exp(-(((u - 0.69) / (0.03 + 0.1 * depth)) ** 2)) * smooth(0.03, 0.22, ripple);
    rgb = mixRgb(rgb, [255, 236, 196], glint * 0.9);
    const [bx, by] = [(u - 0.47) / 0.05, (v - 0.7) / 0.016]; // a rowing boat and its reflection
    if (Math.abs(bx) < 1 && by > -0.5 - 0.4 * bx * bx && by < 1 - bx * bx)
      rgb = by < -0.2 ? [226, 188, 120] : [124, 66, 40];
    else if (Math.abs(bx) < 0.95 && by >= 1 - bx * bx && by < 2.4 - 2 * bx * bx) rgb = mixRgb(rgb, [52, 40, 42], 0.6);
  }
  // The near shore: grass with flowers, then two tall firs.
  const shore = 0.93 - 0.1 * smooth(0.35, 0, u) - 0.12 * smooth(0.7, 1, u) + 0.02 * fbm(u * 14, 2, 4);
  const blade = shore - 0.022 * hash(Math.floor(u * 900), 8) ** 2;
  if (v > blade) {
    const turf = fbm(u * 220, v * 60, 4);
    rgb = mixRgb([38, 60, 26], [134, 156, 62], limit(turf * 1.5 - 0.2 - (v - shore) * 1.4));
    const [cx, cy] = [Math.floor(u * 300), Math.floor(v * 200)];
    const off = Math.hypot(u * 300 - cx - 0.5, v * 200 - cy - 0.5);
    if (hash(cx, cy + 77) > 0.95 && off < 0.36) rgb = mixRgb([240, 200, 60], [230, 170, 240], hash(cx, cy));
  }
  for (const [cx, top, base] of [
    [0.09, 0.2, 0.93],
    [0.93, 0.34, 0.9],
    [0.865, 0.5, 0.88],
  ]) {
    const down = (v - top) / (base - top);
    if (down < 0 || down > 1) continue;
    const across = Math.abs(u - cx - 0.004 * noise(v * 30, cx * 99)) * 1.5;
    const edge = (base - top) * 0.2 * down * (0.5 + 0.6 * ((down * 13) % 1)) * (0.75 + 0.5 * noise(u * 240, v * 160));
    if (across < 0.005 && down > 0.9) rgb = [66, 46, 34]; // the trunk
    const light = limit(fbm(u * 300, v * 330, 3) * 1.4 - 0.3 + (u > cx ? -0.1 : 0.1));
    if (across < edge && down < 0.95) rgb = mixRgb([14, 32, 24], [64, 98, 54], light);
  }
  return rgb;
}

const pixels = Buffer.alloc(W * H * 3);
for (let y = 0, at = 0; y < H; y++) {
  for (let x = 0; x < W; x++, at += 3)
    pixels.set(
      scene(x / W, y / H).map((c) => limit(c / 255) * 255),
      at,
    );
}
await sharp(pixels, { raw: { width: W, height: H, channels: 3 } })
  .resize(W / scale, H / scale)
  .jpeg({ quality: 84, mozjpeg: true })
  .toFile(process.argv[2] ?? 'photo.jpg');
