// Proves that numbers may pass the bounds of the machine's words: sequences those of 32 bits, and up to 2^53; positions
// in the rings those of 2^53. Reaches into what is private, to begin shortly before them.
import t, { type Test } from 'tap';
import type { Connection } from '../../src/ts/ring/connection.js';
import type { Connector } from '../../src/ts/ring/connector.js';
import type { Inbox, Lane, Outbox } from '../../src/ts/ring/index.js';
import type { LaneReporter } from '../../src/ts/ring/lane-reporter.js';
import type { LaneSpace } from '../../src/ts/ring/lane-space.js';
import type { OutboxLink } from '../../src/ts/ring/outbox-link.js';
import type { Placement } from '../../src/ts/ring/placement.js';
import type { RetainedMessages } from '../../src/ts/ring/retained-messages.js';
import { breakConnection, content, hasContent, lanesOf, linkOf, openInbox, openOutbox, until } from './support.js';

// What is private there; the compiler checks the names.
interface InsideLink {
  lastInbox: OutboxLink['lastInbox'];
  connector: { parts: Connector['parts'] };
}
interface InsideLane {
  space: Lane['space'];
  reporter: { reportedTail: LaneReporter['reportedTail'] };
}
type Positions = Placement['positions'] | LaneSpace['positions'] | RetainedMessages['positions'];

const retainedOf = (outbox: Outbox) => (outbox as unknown as { retained: Outbox['retained'] }).retained;
const positionsOf = (place: Placement | LaneSpace | RetainedMessages) =>
  (place as unknown as { positions: Positions }).positions;

/** Gives an outbox another identity, whose messages up to `sequence` are acknowledged already. */
async function continueAt(outbox: Outbox, inbox: Inbox, sequence: number): Promise<void> {
  const link = linkOf(outbox);
  link.reached = sequence;
  const inside = link as unknown as InsideLink;
  inside.lastInbox = '';
  inside.connector.parts.identity = 'fe'.repeat(16);
  Object.assign(retainedOf(outbox), { last: sequence, acknowledged: sequence });
  const { lanesOpened } = inbox.counters;
  breakConnection(outbox);
  await until('it is connected as another one', () => inbox.counters.lanesOpened > lanesOpened && outbox.connected);
}

/** Moves both ends of the lane, and the retained memory, to shortly before position `before`. */
function movePositions(outbox: Outbox, inbox: Inbox, before: number): void {
  const { placement } = linkOf(outbox).connection as unknown as { placement: Connection['placement'] };
  const { space, reporter } = lanesOf(inbox)[0] as unknown as InsideLane;
  for (const place of [placement, retainedOf(outbox), space]) {
    const positions = positionsOf(place);
    // Its own beginning, so that the offset is still 0.
    positions.tail = Math.floor(before / positions.bytes) * positions.bytes - 3 * positions.bytes;
  }
  reporter.reportedTail = positionsOf(placement).tail;
}

async function passBy(t: Test, sequence: number, position: number, inPlace: boolean): Promise<void> {
  const wrong: string[] = [];
  let last = sequence;
  const inbox = await openInbox({
    onMessage: (message) => {
      if (message.sequence !== last + 1) wrong.push(`${message.sequence} after ${last}`);
      if (!hasContent(message.bytes, message.sequence % 997)) wrong.push(`${message.sequence} has other bytes`);
      last = message.sequence;
      message.done();
    },
  });
  // Of rings that divide no power of two.
  const outbox = await openOutbox(inbox, { dataBytes: 4480, retainBytes: 3 * 4480, slots: 5, inPlace });
  await continueAt(outbox, inbox, sequence);
  movePositions(outbox, inbox, position);
  const count = 60;
  for (let i = 1; i <= count; i++) {
    const next = sequence + i;
    const bytes = content(next % 997, [0, 4480, 700, 64, 1999, 1][i % 6]!);
    const sent = outbox.send(bytes);
    t.equal(await sent, next);
    if (i === 35) {
      breakConnection(outbox);
      await until('it is connected again', () => outbox.connected);
    }
    await until(`message ${i} is there`, () => last === next);
  }
  await outbox.whenAcknowledged();
  t.equal(outbox.acknowledged, sequence + count);
  t.strictSame(wrong, []);
  t.equal(outbox.counters.connects, 3, 'the inbox believed every descriptor');
  await outbox.close();
  await inbox.close();
}

for (const inPlace of [true, false]) {
  void t.test(`sequences pass 2^31 and 2^32, and come near 2^53; inPlace ${inPlace}`, async (t) => {
    for (const sequence of [2 ** 31 - 20, 2 ** 32 - 20, 2 ** 53 - 80]) await passBy(t, sequence, 2 ** 32, inPlace);
  });
  void t.test(`positions in the rings pass 2^32 and 2^53; inPlace ${inPlace}`, async (t) => {
    for (const position of [2 ** 31, 2 ** 32, 2 ** 53]) await passBy(t, 1000, position, inPlace);
  });
}
