// Proves: the measuring of benchmarks copies between memory that is registered or mapped here and nowhere else, and
// takes no descriptor that is not an eventfd.
import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { AccessFlags } from '../../src/ts/verbs/index.js';
import { EventFd } from '../../src/ts/verbs/event-fd.js';
import { timeCopy } from '../../src/ts/addon/measuring.js';
import { openPair } from '../verbs/support.js';

void t.test('a plain copy goes between a region and pages of the peer, which has to allow that', (t) => {
  const { a, b } = openPair();
  t.teardown(() => {
    a.device.close();
    b.device.close();
  });
  const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_MAP } = AccessFlags;
  const theirs = b.pd.registerMemory({ bytes: 8192, access: LOCAL_WRITE | REMOTE_WRITE | REMOTE_MAP });
  const pages = a.qp.mapRemote(theirs.address, theirs.rkey, 4096);
  const [mine, shown] = [new Uint8Array(a.mr.buffer), new Uint8Array(theirs.buffer)];
  mine.fill(7, 0, 4096);
  t.ok(timeCopy(pages.buffer, a.mr.buffer, 4096) > 0);
  t.ok(shown.subarray(0, 4096).every((byte) => byte === 7));
  t.ok(shown.subarray(4096).every((byte) => byte === 0));
  shown.fill(9, 0, 4096);
  t.ok(timeCopy(a.mr.buffer, pages.buffer, 4096) > 0);
  t.ok(mine.subarray(0, 4096).every((byte) => byte === 9));
  t.equal(a.cq.poll(), 0, 'it is no work request');
  t.throws(() => a.qp.mapRemote(theirs.address, (theirs.rkey ^ 0x10000) >>> 0, 64), { code: 'EACCES' }, 'a wrong key');
  t.throws(() => a.qp.mapRemote(theirs.address + 8191, theirs.rkey, 64), { code: 'EACCES' }, 'out of bounds');
  t.throws(() => timeCopy(pages.buffer, a.mr.buffer, 4097), { code: 'EINVAL' }, 'more than is mapped');
  t.throws(() => timeCopy(a.mr.buffer, pages.buffer, 4097), { code: 'EINVAL' }, 'more than is mapped');
  t.throws(() => timeCopy(pages.buffer, a.mr.buffer, -1), { code: 'EINVAL' }, 'no length');
  const { buffer } = pages;
  pages.close();
  t.throws(() => timeCopy(buffer, a.mr.buffer, 64), { code: 'EINVAL' }, 'a closed mapping');
  a.qp.toError();
  t.throws(() => a.qp.mapRemote(theirs.address, theirs.rkey, 64), { code: /^(EINVAL|ENOTCONN)$/ });
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
