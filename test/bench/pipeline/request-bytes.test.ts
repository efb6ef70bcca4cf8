// Proves: a result that is not its request's is found out.
import t from 'tap';
import { numberIn, RequestBytes } from '../../../src/ts/bench/pipeline/request-bytes.js';

const wrong = { code: 'RDMA_ERR_PROTOCOL' };

for (const size of [64, 101, 65_536, 65_540, 300_001]) {
  void t.test(`${size} bytes: the result of another request is found out`, async (t) => {
    const request = new RequestBytes(size);
    request.stamp(7);
    const seventh = request.bytes.slice();
    request.checkAll(seventh, 7);
    t.equal(numberIn(seventh), 7);
    request.stamp(8);
    t.throws(() => request.checkStamps(seventh, 8), wrong);
    t.throws(() => request.checkStamps(seventh.subarray(1), 7), wrong);
  });

  void t.test(`${size} bytes: each stamp counts, and in the full check each byte`, async (t) => {
    const request = new RequestBytes(size);
    request.stamp(41);
    const right = request.bytes.slice();
    const stamped = [
      0,
      size - 1,
      ...Array.from({ length: Math.floor((size - 5) / 65_536) }, (_, i) => (i + 1) * 65_536),
    ];
    for (const at of stamped) {
      const torn = right.slice();
      torn[at]! ^= 1;
      t.throws(() => request.checkStamps(torn, 41), wrong, `byte ${at}`);
    }
    for (const at of [5, size >> 1, size - 6]) {
      const torn = right.slice();
      torn[at]! ^= 1;
      t.throws(() => request.checkAll(torn, 41), wrong, `byte ${at}`);
    }
  });
}

for (const [size, pieces] of [
  [64, 1],
  [300_001, 7],
  [300_001, 3000],
  [262_144, 4],
] as const) {
  void t.test(`${size} bytes in ${pieces} pieces: stamps and bytes are checked where they lie`, async (t) => {
    const request = new RequestBytes(size);
    request.stamp(12);
    const length = Math.floor(size / pieces);
    const cut = (bytes: Uint8Array) =>
      Array.from({ length: pieces }, (_, i) => bytes.slice(i * length, i === pieces - 1 ? size : (i + 1) * length));
    request.checkAll(cut(request.bytes), 12);
    t.throws(() => request.checkStamps(cut(request.bytes), 13), wrong);
    t.throws(() => request.checkStamps(cut(request.bytes).slice(1), 12), wrong);
    for (const at of [5, size >> 1, size - 6]) {
      const torn = request.bytes.slice();
      torn[at]! ^= 1;
      t.throws(() => request.checkAll(cut(torn), 12), wrong, `byte ${at}`);
    }
    if (pieces === 1) return;
    const swapped = cut(request.bytes);
    swapped.unshift(swapped.splice(1, 1)[0]!);
    t.throws(() => request.checkAll(swapped, 12), wrong, 'pieces in another order');
  });
}

void t.test('neighbouring bytes that changed places are found out by the full check', async (t) => {
  const request = new RequestBytes(70_000);
  request.stamp(3);
  const moved = request.bytes.slice();
  moved.copyWithin(20, 40, 60);
  t.throws(() => request.checkAll(moved, 3), wrong);
});
