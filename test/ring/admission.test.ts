// Proves what an inbox remembers of producers that are away: nothing is delivered twice, nothing unacknowledged is
// forgotten, memory is bounded, and a producer that had to be forgotten gets an error.
import t from 'tap';
import { Admission } from '../../src/ts/ring/admission.js';
import type { Offer } from '../../src/ts/ring/negotiation-messages.js';
import type { Inbox, InboxMessage } from '../../src/ts/ring/index.js';
import { checkLimits } from '../../src/ts/ring/inbox-options.js';
import type { Lane } from '../../src/ts/ring/lane.js';
import type { ProducerProgress } from '../../src/ts/ring/producer-progress.js';
import { breakConnection, content, openInbox, openOutbox, thrownCode, until } from './support.js';

const INBOX = 'a'.repeat(32);

function admission(): Admission {
  return new Admission(checkLimits({ secret: 'unused' }), INBOX, 'soft0', 'soft', 1e6);
}

const offerOf = (number: number, changes: Partial<Offer> = {}): Offer =>
  ({
    producer: String(number).padStart(32, '0'),
    name: `p${number}`,
    transport: 'soft',
    inbox: '',
    slots: 8,
    dataBytes: 4096,
    retainMessages: 4,
    acknowledged: 0,
    inPlace: true,
    ...changes,
  }) as Offer;

/** A producer comes, has `delivered` messages delivered and `acknowledged` acknowledged, and goes. */
function visit(admission: Admission, offer: Offer, delivered: number, acknowledged: number): ProducerProgress {
  const { id, progress, shape } = admission.admit(offer);
  const lane = { id, progress, slots: shape.slots, held: 0 } as Lane;
  progress.lane = lane;
  admission.add(lane);
  for (let n = 0; n < delivered; n++) progress.deliver(0);
  for (let n = 1; n <= acknowledged; n++) progress.acknowledge(n);
  progress.lane = undefined;
  admission.remove(lane);
  return progress;
}

void t.test('of those whose messages are all acknowledged a number is kept, and nothing comes twice', async (t) => {
  const table = admission();
  for (let n = 0; n < 3000; n++) visit(table, offerOf(n), 3, 3);
  t.ok([...table.allProgress()].length <= 1024, 'most are settled');
  // Its own report was lost: it believes that one was acknowledged.
  const { progress } = table.admit(offerOf(5, { acknowledged: 1, inbox: INBOX }));
  t.strictSame([progress.delivered, progress.acknowledged], [3, 3]);
});

void t.test('what is not acknowledged is never forgotten; newcomers wait instead', async (t) => {
  const table = admission();
  for (let n = 0; n < 1024; n++) visit(table, offerOf(n), 2, 1);
  t.equal(
    thrownCode(() => table.admit(offerOf(5000))),
    'RDMA_ERR_BUSY',
  );
  const { progress } = table.admit(offerOf(7, { acknowledged: 1, inbox: INBOX }));
  t.strictSame([progress.delivered, progress.acknowledged], [2, 1], 'whoever is known comes in');
  for (const each of table.allProgress()) each.acknowledge(2);
  visit(table, offerOf(7, { acknowledged: 1, inbox: INBOX }), 0, 0);
  t.equal(
    thrownCode(() => table.admit(offerOf(5000))),
    undefined,
  );
});

void t.test('a producer that had to be forgotten is refused when it comes back, and a new one is not', async (t) => {
  const table = admission();
  for (let n = 0; n < 70_000; n++) visit(table, offerOf(n), 1, 1);
  t.equal(
    thrownCode(() => table.admit(offerOf(1, { inbox: INBOX }))),
    'RDMA_ERR_REFUSED',
  );
  t.equal(
    thrownCode(() => table.admit(offerOf(1, { inbox: 'b'.repeat(32) }))),
    undefined,
    'it was with another inbox last',
  );
  t.equal(
    thrownCode(() => table.admit(offerOf(69_999, { inbox: INBOX }))),
    undefined,
  );
});

void t.test(
  'an outbox that went to another inbox may come back: what was acknowledged there is not sent again',
  async (t) => {
    const got: Record<string, InboxMessage[]> = { a: [], b: [] };
    const open = (name: string) => openInbox({ onMessage: (message) => got[name]!.push(message) });
    const [a, b] = [await open('a'), await open('b')] as [Inbox, Inbox];
    let to = a.bootstrap;
    const outbox = await openOutbox(() => to, { slots: 8 });
    const move = async (inbox: Inbox) => {
      to = inbox.bootstrap;
      const connects = outbox.counters.connects + 1;
      breakConnection(outbox);
      await until('it is there', () => outbox.counters.connects === connects);
    };
    for (let n = 1; n <= 4; n++) await outbox.send(content(n, 10));
    await until('four are with the first', () => got.a!.length === 4);
    got.a![0]!.done();
    await outbox.whenAcknowledged(1);
    await move(b);
    await until('three came to the second', () => got.b!.length === 3);
    for (const message of got.b!.slice(0, 2)) message.done();
    await outbox.whenAcknowledged(3);
    await move(a);
    await outbox.send(content(5, 10));
    await until('the fifth comes to the first', () => got.a!.length === 5);
    t.strictSame(
      got.a!.map((message) => message.sequence),
      [1, 2, 3, 4, 5],
      'nothing came twice',
    );
    for (const message of got.a!) message.done();
    await outbox.whenAcknowledged();
    await outbox.close();
    await a.close();
    await b.close();
  },
);
