// Proves: our streaming chain answers every request with the right bytes, whole and in pieces, as copies and as views.
import t from 'tap';
import { Load } from '../../../src/ts/bench/pipeline/load.js';
import { StreamSubject } from '../../../src/ts/bench/pipeline/stream-subject.js';
import { RequestBytes } from '../../../src/ts/bench/pipeline/request-bytes.js';
import { DEVICE } from '../../pipeline/support.js';

for (const [sizeBytes, pieces, views] of [
  [100_003, 1, false],
  [1_000_003, 64, false],
  [1_000_003, 64, true],
  [4096, 1024, true],
] as const) {
  const how = views ? 'views' : 'copies';
  void t.test(`${sizeBytes} bytes in ${pieces} pieces, as ${how}`, async (t) => {
    const subject = await StreamSubject.open({ device: DEVICE, views, pollUs: null, sizeBytes, pieces });
    t.teardown(() => subject.close());
    const request = new RequestBytes(sizeBytes);
    for (let number = 1; number < 4; number++) {
      request.stamp(number);
      const { bytes, release } = await subject.request(request.bytes);
      t.equal(bytes.length, pieces);
      request.checkAll(bytes, number);
      t.throws(() => request.checkStamps(bytes, number + 1), { code: 'RDMA_ERR_PROTOCOL' });
      release();
    }
  });
}

void t.test('a load of them is measured', async (t) => {
  const options = { device: DEVICE, views: true, pollUs: null, sizeBytes: 100_003, pieces: 8 };
  const subject = await StreamSubject.open(options);
  t.teardown(() => subject.close());
  const load = new Load(subject, options.sizeBytes);
  load.start(1);
  const { samplesUs, requests } = await load.measure(process.pid, 1);
  await load.stop();
  t.ok(requests >= 5 && samplesUs.every((us) => us > 1), `${requests} requests`);
});
