// Proves what holds for short messages that are sent and delivered in one step, where one lane is stored into and
// polled: they are the messages that the long way makes, in one order with those that take it; and whoever else has a
// lane, a visitor that throws, and one that closes the inbox, are served as ever.
import t from 'tap';
import type { Lane, Outbox } from '../../src/ts/ring/index.js';
import { ShortSender } from '../../src/ts/ring/short-sender.js';
import { breakConnection, content, hasContent, openInbox, openOutbox, random, until } from './support.js';

/** How many messages were shown in one step so far. */
let shown = 0;
const { show } = ShortSender.prototype;
ShortSender.prototype.show = function (bytes: Uint8Array): boolean {
  const isShown = show.call(this, bytes);
  if (isShown) shown++;
  return isShown;
};
t.teardown(() => {
  ShortSender.prototype.show = show;
});

function giveBack(lane: Lane): void {
  lane.release(lane.sequence);
  lane.acknowledge(lane.sequence);
}

async function openPair(options: Parameters<typeof openOutbox>[1] = {}) {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { wait: 'busy', closeMs: 0, ...options });
  return { inbox, outbox };
}

void t.test(
  'every mixture of short, long, built and corked messages comes whole and in order, through lost lanes',
  async (t) => {
    const below = random(7);
    const { inbox, outbox } = await openPair({ slots: 5, dataBytes: 4096, retainMessages: 9 });
    const began = shown;
    let got = 0;
    const wrong: string[] = [];
    const visit = (lane: Lane) => {
      got++;
      const bytes = lane.data.subarray(lane.offset, lane.offset + lane.length);
      if (lane.sequence !== got || !hasContent(bytes, got)) wrong.push(`${lane.sequence} at ${got}`);
      giveBack(lane);
    };
    const lengths = [1, 7, 8, 40, 63, 64, 65, 128, 0, 1000];
    let corked = false;
    let sent = 0;
    for (let step = 0; step < 4000; step++) {
      const bytes = content(sent + 1, lengths[below(lengths.length)]!);
      const act = below(14);
      if (act === 0) {
        const place = outbox.tryReserve(bytes.length);
        place?.bytes.set(bytes);
        if (place !== undefined) sent = place.commit();
      } else if (act === 1) {
        const cut = below(bytes.length + 1);
        sent += outbox.trySend(bytes.subarray(0, cut), bytes.subarray(cut)) > 0 ? 1 : 0;
      } else if (act === 2 || (corked && below(2) === 0)) {
        if (corked) outbox.uncork();
        else outbox.cork();
        corked = !corked;
      } else if (act === 3) {
        outbox.poll();
      } else if (act < 8) {
        outbox.poll();
        inbox.poll(visit);
      } else {
        sent += outbox.trySend(bytes) > 0 ? 1 : 0;
      }
      if (step % 1000 === 999) {
        breakConnection(outbox);
        await until('it is connected again', () => {
          inbox.poll(visit);
          return outbox.connected;
        });
      }
      if (step % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    if (corked) outbox.uncork();
    await until('all are acknowledged', () => {
      inbox.poll(visit);
      outbox.poll();
      return outbox.unacknowledged === 0;
    });
    t.strictSame(wrong, []);
    t.equal(got, sent);
    t.equal(outbox.sequence, sent);
    t.equal(outbox.counters.messages, sent);
    t.equal(inbox.counters.messages, sent);
    t.equal(inbox.counters.bytes, outbox.counters.bytes);
    t.equal(outbox.counters.connects, 5);
    t.ok(shown - began > 300, `${shown - began} of ${sent} in one step`);
    t.ok(sent - (shown - began) > 300, 'and the others not');
    await outbox.close();
    await inbox.close();
  },
);

void t.test('what is to be pulled, and what needs a checksum, is not sent so', async (t) => {
  for (const options of [{ pullAboveBytes: 20 }, { checksum: true }]) {
    const inbox = await openInbox({ wait: 'busy', maxPullBytes: 1000 });
    const outbox = await openOutbox(inbox, { wait: 'busy', closeMs: 0, ...options });
    const began = shown;
    t.equal(outbox.trySend(content(1, 21)), 1);
    t.equal(shown, began);
    t.equal(outbox.counters.pulled, 'checksum' in options ? 0 : 1);
    t.equal(outbox.trySend(content(2, 20)), 2);
    t.equal(shown - began, 'checksum' in options ? 0 : 1);
    await outbox.close();
    await inbox.close();
  }
});

void t.test('parts that are no Uint8Array, or no bytes at all, are what they were', async (t) => {
  const { inbox, outbox } = await openPair();
  const seen: number[][] = [];
  const visit = (lane: Lane) => {
    seen.push([...lane.data.subarray(lane.offset, lane.offset + lane.length)]);
    giveBack(lane);
  };
  outbox.trySend(Uint16Array.of(258));
  outbox.trySend(new DataView(Uint8Array.of(1, 2, 3).buffer, 1));
  outbox.trySend(Buffer.from([9, 8]));
  outbox.trySend(new Uint8ClampedArray([7]));
  outbox.trySend(new Uint8Array(new SharedArrayBuffer(2)));
  await until('they are there', () => inbox.poll(visit) + seen.length >= 5);
  t.strictSame(seen, [[2, 1], [2, 3], [9, 8], [7], [0, 0]]);
  const gone = new Uint8Array(8);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  for (const wrong of [
    undefined,
    null,
    5,
    'x',
    {},
    [1],
    gone,
    Object.create(Uint8Array.prototype),
    new Proxy(content(1, 3), {}),
  ]) {
    t.throws(() => outbox.trySend(wrong as Uint8Array), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  }
  t.equal(outbox.sequence, 5, 'nothing was taken of them');
  await outbox.close();
  t.throws(() => outbox.trySend(content(6, 8)), { code: 'RDMA_ERR_CLOSED' });
  await inbox.close();
});

void t.test('send() and whenPublished() go on as the messages do', async (t) => {
  const { inbox, outbox } = await openPair({ slots: 2 });
  const all = Promise.all([1, 2, 3, 4, 5].map((i) => outbox.send(content(i, 10))));
  const published = outbox.whenPublished(5);
  let got = 0;
  await until('all are there', () => {
    inbox.poll((lane) => {
      got++;
      giveBack(lane);
    });
    return got === 5;
  });
  await published;
  t.strictSame(await all, [1, 2, 3, 4, 5]);
  await outbox.close();
  await inbox.close();
});

void t.test('a visitor that throws has got its message, and the next poll goes on behind it', async (t) => {
  const { inbox, outbox } = await openPair({ slots: 16 });
  for (let i = 1; i <= 6; i++) outbox.trySend(content(i, 20));
  const seen: number[] = [];
  const visit = (lane: Lane) => {
    seen.push(lane.sequence);
    giveBack(lane);
    t.equal(inbox.poll(visit), 0, 'a poll within a visit does nothing');
    if (lane.sequence % 2 === 0) throw new Error('from the visit');
  };
  for (let polls = 0; seen.length < 6 && polls < 1000; polls++) {
    if (seen.length % 2 === 0) t.throws(() => inbox.poll(visit), { message: 'from the visit' });
    else inbox.poll(visit);
  }
  t.strictSame(seen, [1, 2, 3, 4, 5, 6]);
  outbox.trySend(content(7, 20));
  let closing: Promise<void> | undefined;
  inbox.poll((lane) => {
    seen.push(lane.sequence);
    closing = inbox.close();
  });
  t.strictSame(seen, [1, 2, 3, 4, 5, 6, 7]);
  t.throws(() => inbox.poll(visit), { code: 'RDMA_ERR_CLOSED' });
  await closing;
  await outbox.close();
});

async function besideALoudOne(): Promise<{ polls: number; quiet: Outbox }> {
  const inbox = await openInbox({ wait: 'busy' });
  const loud = await openOutbox(inbox, { wait: 'busy', slots: 64, closeMs: 0 });
  const quiet = await openOutbox(inbox, { name: 'quiet', wait: 'busy', inPlace: false, inlineBytes: 0, closeMs: 0 });
  t.equal(inbox.status().lanes.filter(({ polled }) => polled).length, 1);
  const poll = () => {
    inbox.poll(giveBack);
    loud.poll();
    quiet.poll();
  };
  for (const outbox of [loud, quiet]) outbox.trySend(content(1, 8));
  await until('both are ready', () => {
    poll();
    return loud.acknowledged === 1 && quiet.acknowledged === 1;
  });
  quiet.trySend(content(2, 8));
  let polls = 0;
  for (; quiet.acknowledged < 2 && polls < 10_000; polls++) {
    loud.trySend(content(1, 8));
    poll();
  }
  await loud.close();
  await quiet.close();
  await inbox.close();
  return { polls, quiet };
}

void t.test('one that is not polled is served, and told, beside one that is and never stops', async (t) => {
  const { polls, quiet } = await besideALoudOne();
  t.equal(quiet.acknowledged, 2, `after ${polls} polls`);
});

void t.test('without a connection a message is kept, and not sent in one step', async (t) => {
  const { inbox, outbox } = await openPair();
  t.equal(outbox.trySend(content(1, 8)), 1);
  await inbox.close();
  await until('it has noticed', () => !outbox.connected);
  const began = shown;
  t.equal(outbox.trySend(content(2, 8)), 2);
  t.equal(shown, began);
  t.strictSame(await outbox.close(), { unacknowledged: 2, unwritten: 1 });
});
