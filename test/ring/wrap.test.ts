// Proves that numbers may pass the bounds of the machine's words: sequences those of 32 bits, and up to 2^53; positions
// in the rings those of 2^53. Reaches into what is private, to begin shortly before them.
import t, { type Test } from 'tap';
import type { Inbox, Outbox } from '../../src/ts/ring/index.js';
import type { Positions } from '../../src/ts/ring/positions.js';
import { breakConnection, content, hasContent, openInbox, openOutbox, until } from './support.js';

interface Inside {
  connection: { placement: { positions: { tail: number; bytes: number } } } | undefined;
  retained: { last: number; acknowledged: number; positions: { tail: number; bytes: number } };
  link: { reached: number; lastInbox: string; connector: { parts: { identity: string } } };
}

interface InsideLane {
  space: { positions: Positions };
  reporter: object;
}

/** Gives an outbox another identity, whose messages up to `sequence` are acknowledged already. */
async function continueAt(outbox: Outbox, inbox: Inbox, sequence: number): Promise<void> {
  const inside = outbox as unknown as Inside;
  Object.assign(inside.link, { lastInbox: '', reached: sequence });
  Object.assign(inside.link.connector.parts, { identity: 'fe'.repeat(16) });
  Object.assign(inside.retained, { last: sequence, acknowledged: sequence });
  const { lanesOpened } = inbox.counters;
  breakConnection(outbox);
  await until('it is connected as another one', () => inbox.counters.lanesOpened > lanesOpened && outbox.connected);
}

/** Moves both ends of the lane, and the retained memory, to shortly before position `before`. */
function movePositions(outbox: Outbox, inbox: Inbox, before: number): void {
  const { connection, retained } = outbox as unknown as Inside;
  const lanes = (inbox as unknown as { lanesByQp: Map<number, InsideLane> }).lanesByQp;
  const [lane] = lanes.values();
  for (const positions of [connection!.placement.positions, retained.positions, lane!.space.positions]) {
    // Its own beginning, so that the offset is still 0.
    positions.tail = Math.floor(before / positions.bytes) * positions.bytes - 3 * positions.bytes;
  }
  Object.assign(lane!.reporter, { reportedTail: connection!.placement.positions.tail });
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
