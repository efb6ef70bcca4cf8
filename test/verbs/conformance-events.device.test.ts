// Proves, on soft0 and on rxe0 alike, that a completion channel loses no event: each arming raises one, and what
// completes after the last poll and before arming is found by the poll after it.
import t from 'tap';
import { Device, SendFlags } from '../../src/ts/verbs/index.js';
import {
  codeOf,
  connectSides,
  deviceName,
  FULL_ACCESS,
  openSide,
  patienceMs,
  readCompletions,
  type Side,
  takeOne,
  until,
} from './support.js';

const { SOLICITED } = SendFlags;

/** Two connected sides of which the receiving one sleeps on a channel. */
function openListening() {
  const a = openSide();
  const device = Device.open(deviceName);
  let wake = () => {};
  let timer: NodeJS.Timeout | undefined;
  let events = 0;
  const channel = device.createCompletionChannel(() => {
    events++;
    wake();
  });
  const cq = device.createCompletionQueue(256, channel);
  const pd = device.allocateProtectionDomain();
  const mr = pd.registerMemory({ bytes: 4096, access: FULL_ACCESS });
  const qp = pd.createQueuePair({ sendCq: cq });
  const b: Side = { device, address: device.portAddress(), pd, cq, mr, bytes: new Uint8Array(mr.buffer), qp };
  connectSides(a, b);
  const send = (imm: number, flags = 0) => {
    qp.receives.empty(0, imm);
    qp.postReceive(1);
    a.qp.sends.writeWithImm(0, imm, flags, imm, mr.address, mr.rkey, a.mr.address, 8, a.mr.lkey);
    a.qp.postSend(1);
  };
  const asleep = () =>
    new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error('no event came')), patienceMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const onEvent = (callback: () => void) => {
    wake = callback;
  };
  const close = () => {
    clearTimeout(timer);
    a.device.close();
    device.close();
  };
  return { a, b, channel, send, asleep, onEvent, close, events: () => events };
}

void t.test('an armed queue raises one event; armed again it raises the next, and nothing is lost', async (t) => {
  const { b, send, asleep, close, events } = openListening();
  for (let round = 1; round <= 20; round++) {
    b.cq.requestNotify();
    t.equal(b.cq.poll(), 0);
    const woken = asleep();
    send(round);
    await woken;
    t.match(await takeOne(b.cq), { imm: round });
  }
  t.equal(events(), 20);
  close();
});

void t.test('a completion between the last poll and arming is found by the poll after arming', async (t) => {
  const { b, send, close } = openListening();
  t.equal(b.cq.poll(), 0);
  send(7);
  // It is there once the sender could have its completion; the receiver has not polled meanwhile.
  for (let tries = 0; ; tries++) {
    b.cq.requestNotify();
    const count = b.cq.poll();
    if (count > 0) {
      t.match(readCompletions(b.cq, count), [{ imm: 7 }]);
      break;
    }
    if (tries > 1e6) throw new Error('it never came');
  }
  close();
});

void t.test('bursts that arrive while the queue is being armed all arrive, by events alone', async (t) => {
  const { b, send, onEvent, close } = openListening();
  const total = 300;
  const seen: number[] = [];
  const drain = () => {
    for (let n = b.cq.poll(); n > 0; n = b.cq.poll()) seen.push(...readCompletions(b.cq, n).map((wc) => wc.imm));
  };
  onEvent(() => {
    drain();
    b.cq.requestNotify();
    drain();
  });
  b.cq.requestNotify();
  for (let sent = 0; sent < total; ) {
    const burst = 1 + (sent % 13);
    for (let i = 0; i < burst && sent < total; i++) send(sent++);
    // Every third burst overtakes the one before.
    if (sent % 3 === 0) await until(`${sent} have come`, () => seen.length === sent);
    else await until('there is room', () => seen.length > sent - 60);
  }
  await until('all have come', () => seen.length === total);
  t.same(
    seen,
    Array.from({ length: total }, (_, i) => i),
  );
  close();
});

void t.test('armed for solicited events only, the queue sleeps through the others', async (t) => {
  const { b, send, asleep, close, events } = openListening();
  b.cq.requestNotify(true);
  const woken = asleep();
  send(1);
  t.match(await takeOne(b.cq), { imm: 1 });
  t.equal(events(), 0);
  send(2, SOLICITED);
  await woken;
  t.match(await takeOne(b.cq), { imm: 2 });
  t.equal(events(), 1);
  close();
});

void t.test('arming needs a channel, and a channel of the same device', async (t) => {
  const { a, channel, close } = openListening();
  t.equal(
    codeOf(() => a.cq.requestNotify()),
    'EINVAL',
  );
  t.equal(
    codeOf(() => a.device.createCompletionQueue(8, channel)),
    'EINVAL',
  );
  const foreign = openSide();
  t.equal(
    codeOf(() => a.pd.createQueuePair({ sendCq: foreign.cq })),
    'EINVAL',
  );
  foreign.device.close();
  close();
});
