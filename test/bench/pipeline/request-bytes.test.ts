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

void t.test('neighbouring bytes that changed places are found out by the full check', async (t) => {
  const request = new RequestBytes(70_000);
  request.stamp(3);
  const moved = request.bytes.slice();
  moved.copyWithin(20, 40, 60);
  t.throws(() => request.checkAll(moved, 3), wrong);
});
