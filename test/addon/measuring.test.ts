// Proves: the measuring of benchmarks copies what a WRITE would, refuses what a WRITE would not be allowed, and takes
// no descriptor that is not an eventfd.
import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { SendFlags } from '../../src/ts/verbs/index.js';
import { EventFd } from '../../src/ts/verbs/event-fd.js';
import { timeCopy } from '../../src/ts/addon/measuring.js';
import { openPair } from '../verbs/support.js';

void t.test('a plain copy takes the way of a WRITE or READ, with its rights', (t) => {
  const { a, b } = openPair();
  t.teardown(() => {
    a.device.close();
    b.device.close();
  });
  const [mine, theirs] = [new Uint8Array(a.mr.buffer), new Uint8Array(b.mr.buffer)];
  mine.fill(7, 0, 4096);
  a.qp.sends.write(0, 1, SendFlags.SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 4096, a.mr.lkey);
  t.ok(timeCopy(a.qp, 0) > 0);
  t.ok(theirs.subarray(0, 4096).every((byte) => byte === 7));
  theirs.fill(9, 0, 4096);
  a.qp.sends.read(0, 1, SendFlags.SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 4096, a.mr.lkey);
  t.ok(timeCopy(a.qp, 0) > 0);
  t.ok(mine.subarray(0, 4096).every((byte) => byte === 9));
  t.equal(a.cq.poll(), 0, 'it is no work request');
  a.qp.sends.write(0, 1, 0, b.mr.address, b.mr.rkey ^ 0x10000, a.mr.address, 64, a.mr.lkey);
  t.throws(() => timeCopy(a.qp, 0), { code: 'EACCES' }, 'a wrong key');
  a.qp.sends.write(0, 1, 0, b.mr.address + b.mr.byteLength - 1, b.mr.rkey, a.mr.address, 64, a.mr.lkey);
  t.throws(() => timeCopy(a.qp, 0), { code: 'EACCES' }, 'out of bounds');
  a.qp.sends.send(0, 1, 0, a.mr.address, 64, a.mr.lkey);
  t.throws(() => timeCopy(a.qp, 0), { code: 'EINVAL' }, 'a SEND');
  t.throws(() => timeCopy(a.qp, 1e6), { code: 'EINVAL' }, 'no such record');
  a.qp.toError();
  t.throws(() => timeCopy(a.qp, 0), { code: /^(EINVAL|ENOTCONN)$/ });
  t.end();
});

void t.test('an eventfd calls back in the event loop, and only an eventfd is inherited', async (t) => {
  const mine = EventFd.open();
  t.teardown(() => mine.close());
  const same = EventFd.open(mine.fd);
  t.not(same.fd, mine.fd);
  const woken = new Promise<void>((resolve) => mine.watch(resolve));
  same.signal();
  await woken;
  same.close();
  t.throws(() => same.signal(), { code: 'EBADF' });
  const file = openSync('/dev/null', 'r');
  t.throws(() => EventFd.open(file), { code: 'EINVAL' });
  closeSync(file);
  t.throws(() => EventFd.open(1_000_000), { code: 'EBADF' });
});
