// Proves what soft0 does at its limits: as many queue pairs as it says, at no descriptor each, and an error with a code
// and a remedy for one too many of anything. What they cost in memory is in test/native/queue_pair_test.cc.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { CompletionStatus as Status, Device, type QueuePair, SendFlags } from '../../src/ts/verbs/index.js';
import { openSide, takeOne } from './support.js';

const descriptors = () => readdirSync('/proc/self/fd').length;

void t.test('all queue pairs that the device promises can be had, and one more is refused with a remedy', (t) => {
  const device = Device.open('soft0');
  const pd = device.allocateProtectionDomain();
  const cq = device.createCompletionQueue(16);
  const { maxQp } = device.attributes;
  const before = descriptors();
  const all: QueuePair[] = [];
  for (let i = 0; i < maxQp; i++) all.push(pd.createQueuePair({ sendCq: cq, maxSendWr: 1, maxRecvWr: 0 }));
  t.equal(all.length, 16_383);
  t.equal(descriptors(), before);
  t.throws(() => pd.createQueuePair({ sendCq: cq, maxSendWr: 1, maxRecvWr: 0 }), {
    code: 'ENOMEM',
    syscall: 'ibv_create_qp',
    remedy: /limits that device\.attributes shows/,
  });
  all.pop()!.close();
  pd.createQueuePair({ sendCq: cq, maxSendWr: 1, maxRecvWr: 0 });
  device.close();
  t.end();
});

void t.test('thousands of connected queue pairs take the descriptors of one, and all work', async (t) => {
  const a = openSide();
  const b = openSide();
  const connect = (): [QueuePair, QueuePair] => {
    const pair: [QueuePair, QueuePair] = [
      a.pd.createQueuePair({ sendCq: a.cq, maxSendWr: 4, maxRecvWr: 4 }),
      b.pd.createQueuePair({ sendCq: b.cq, maxSendWr: 4, maxRecvWr: 4 }),
    ];
    pair[0].connect(a.address, pair[1].endpoint(b.address));
    pair[1].connect(b.address, pair[0].endpoint(a.address));
    return pair;
  };
  const pairs = [connect()];
  const before = descriptors();
  while (pairs.length < 4000) pairs.push(connect());
  t.equal(descriptors(), before);
  for (const [i, [from, to]] of pairs.entries()) {
    if (i % 97 !== 0 && i !== pairs.length - 1) continue;
    to.receives.into(0, i, b.mr.address, 64, b.mr.lkey);
    to.postReceive(1);
    from.sends.send(0, i, SendFlags.SIGNALED, a.mr.address, 64, a.mr.lkey);
    from.postSend(1);
    t.match(await takeOne(a.cq), { wrId: i, status: Status.SUCCESS });
    t.match(await takeOne(b.cq), { wrId: i, status: Status.SUCCESS, qpNum: to.qpNum });
  }
  a.device.close();
  b.device.close();
});

void t.test('a region for which no descriptor is left is refused with a remedy, and the process goes on', (t) => {
  const script = `
    const { Device } = require(${JSON.stringify(path.resolve(__dirname, '../../src/ts/verbs/index.js'))});
    const device = Device.open('soft0');
    const pd = device.allocateProtectionDomain();
    const all = [];
    try {
      for (let i = 0; i < 1000; i++) all.push(pd.registerMemory({ bytes: 4096 }));
    } catch ({ code, syscall, remedy }) {
      all.pop().close();
      pd.registerMemory({ bytes: 4096 });
      console.log(JSON.stringify({ code, syscall, remedy }));
    }`;
  const output = execFileSync('sh', ['-c', 'ulimit -n 200 && exec "$0" -e "$1"', process.execPath, script], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.match(JSON.parse(output), { code: 'EMFILE', syscall: 'ibv_reg_mr', remedy: /ulimit -n/ });
  t.end();
});
