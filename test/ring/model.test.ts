// Proves the protocol against its model under random schedules, in one process: whatever the sizes, the order of
// release and acknowledgement, and whenever the connection breaks, messages are delivered 1..n, each once, with the
// bytes that were sent and that stay as long as they are held; and nothing is left at the end.
import t from 'tap';
import type { InboxMessage, Outbox, Reservation } from '../../src/ts/ring/index.js';
import { Device } from '../../src/ts/verbs/index.js';
import {
  breakConnection,
  content,
  DEVICE,
  hasContent,
  openInbox,
  openOutbox,
  random,
  thrownCode,
  until,
} from './support.js';

interface Run {
  seed: number;
  steps: number;
  slots: number;
  dataBytes: number;
  retainMessages: number;
  retainBytes: number;
  /** One in so many steps breaks the connection; 0 never. */
  breaks: number;
}

/** The largest message that is pulled. */
const PULLED = 20_000;

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** How many native objects of a device are open. */
const openObjects = (device: Device) => device.ledger.handles.size;

/** Runs one schedule; answers what went wrong. */
async function play(run: Run): Promise<string[]> {
  const wrong: string[] = [];
  const pick = random(run.seed);
  using device = Device.open(DEVICE);
  const held: InboxMessage[] = [];
  const unacknowledged: InboxMessage[] = [];
  const pulling = new Set<InboxMessage>();
  const reservations: Reservation[] = [];
  const givenUp = new Set<number>();
  let delivered = 0;
  let pulls = 0;
  const arrived = (message: InboxMessage) => {
    if (!hasContent(message.bytes, message.sequence)) wrong.push(`message ${message.sequence} has other bytes`);
    held.push(message);
    unacknowledged.push(message);
  };
  const pull = async (message: InboxMessage) => {
    pulling.add(message);
    try {
      if (thrownCode(() => message.bytes) !== 'RDMA_ERR_BUSY') wrong.push('bytes that are not here are shown');
      await message.pull(undefined, { timeoutMs: 20_000 });
      pulls++;
      arrived(message);
    } catch (error) {
      wrong.push(`message ${message.sequence} is not pulled: ${String(error)}`);
    }
    pulling.delete(message);
  };
  const inbox = await openInbox({
    device,
    maxLanes: 2,
    maxPullBytes: PULLED,
    onMessage: (message) => {
      let expected = delivered + 1;
      while (givenUp.has(expected)) expected++;
      if (message.sequence !== expected) wrong.push(`${message.sequence} came where ${expected} must come`);
      delivered = message.sequence;
      if (message.laneHeldMessages > message.laneSlots || message.laneHeldBytes > message.laneBytes) {
        wrong.push('more is held than the lane has');
      }
      if (message.isPulled) void pull(message);
      else arrived(message);
    },
  });
  const idle = openObjects(device);
  const { slots, dataBytes, retainMessages, retainBytes } = run;
  const outbox: Outbox = await openOutbox(inbox, {
    device,
    slots,
    dataBytes,
    retainMessages,
    retainBytes,
    pullBytes: 4 * PULLED,
    checksum: run.seed % 2 === 0,
    onAcknowledged: (sequence) => {
      if (sequence > delivered && !givenUp.has(sequence)) wrong.push(`${sequence} was acknowledged before it came`);
      const open = [...unacknowledged, ...pulling].find((message) => message.sequence <= sequence);
      if (open !== undefined) wrong.push(`${open.sequence} counts as acknowledged and is not`);
    },
  });
  const ring = outbox.maxLaneMessageBytes;
  const takeFrom = <T>(list: T[]) => list.splice(pick(list.length), 1)[0] as T;
  const anyLength = () => {
    const sizes = [0, 1, ring, ring - 1, 64, pick(ring + 1), pick(Math.min(ring, 200)), ring + 1 + pick(PULLED - ring)];
    return sizes[pick(sizes.length)] as number;
  };
  const release = () => {
    const message = takeFrom(held);
    if (!hasContent(message.bytes, message.sequence))
      wrong.push(`message ${message.sequence} changed while it was held`);
    message.release();
  };
  const endReservation = () => {
    const reservation = takeFrom(reservations);
    const { sequence, bytes } = reservation;
    if (pick(4) === 0) {
      givenUp.add(sequence);
      reservation.abort();
      reservation.abort();
      return;
    }
    const length = pick(2) === 0 ? bytes.length : pick(bytes.length + 1);
    bytes.set(content(sequence, length));
    if (reservation.commit(length) !== sequence) wrong.push('a reservation has changed its sequence');
    if (reservation.bytes.length > 0) wrong.push('a reservation shows memory after it has ended');
  };
  for (let step = 0; step < run.steps; step++) {
    const kind = pick(12);
    if (kind < 3) {
      const next = outbox.sequence + 1;
      const sequence = outbox.trySend(content(next, anyLength()));
      if (sequence !== 0 && sequence !== next) wrong.push(`${next} was taken as ${sequence}`);
    } else if (kind < 5) {
      const reservation = outbox.tryReserve(anyLength());
      if (reservation !== undefined) reservations.push(reservation);
    } else if (kind === 5 && reservations.length > 0) {
      endReservation();
    } else if (kind < 8 && held.length > 0) {
      release();
    } else if (kind < 10 && unacknowledged.length > 0) {
      takeFrom(unacknowledged).acknowledge();
    } else if (kind === 10) {
      if (run.breaks > 0 && pick(run.breaks) === 0) breakConnection(outbox);
    } else {
      await turn();
    }
    if (outbox.unacknowledged > retainMessages) wrong.push('more is retained than was asked for');
  }
  while (reservations.length > 0) endReservation();
  while (outbox.acknowledged < outbox.sequence) {
    while (held.length > 0) release();
    while (unacknowledged.length > 0) takeFrom(unacknowledged).acknowledge();
    await until(`seed ${run.seed} goes on`, () => held.length > 0 || outbox.acknowledged === outbox.sequence);
  }
  while (held.length > 0) release();
  let last = outbox.sequence;
  while (givenUp.has(last)) last--;
  if (delivered !== last) wrong.push(`${delivered} of ${last} were delivered`);
  const { counters } = inbox;
  if (counters.messages + counters.skipped !== outbox.sequence) wrong.push(`deliveries: ${JSON.stringify(counters)}`);
  if (counters.pulls !== pulls) wrong.push(`${counters.pulls} pulls were counted of ${pulls}`);
  await outbox.close();
  await until('the lane is fenced', () => inbox.laneCount === 0);
  if (openObjects(device) !== idle) wrong.push(`${openObjects(device) - idle} native objects were left`);
  if (inbox.counters.quarantined > 0) wrong.push('memory was quarantined');
  await inbox.close();
  if (openObjects(device) > 1) wrong.push('the inbox left objects');
  return wrong;
}

void t.test('as many lanes as there may be, all at once, each with its own messages', async (t) => {
  const lanes = 48;
  const wrong: string[] = [];
  const last = new Map<string, number>();
  const inbox = await openInbox({
    maxLanes: lanes,
    onMessage: (message) => {
      const before = last.get(message.producer) ?? 0;
      last.set(message.producer, message.sequence);
      const right =
        message.sequence === before + 1 && hasContent(message.bytes, Number(message.from) ^ message.sequence);
      if (!right) wrong.push(`${message.from}: ${message.sequence} after ${before}`);
      message.done();
    },
  });
  const outboxes = await Promise.all(
    Array.from({ length: lanes }, (_, i) => openOutbox(inbox, { name: String(i + 1), slots: 1 + (i % 5) })),
  );
  const sending = outboxes.map(async (outbox, i) => {
    for (let n = 1; n <= 40; n++) await outbox.send(content((i + 1) ^ n, (n * 101 * (i + 1)) % 4097));
    await outbox.whenAcknowledged(40, { timeoutMs: 20_000 });
  });
  await Promise.all(sending);
  t.strictSame(wrong, []);
  t.equal(inbox.counters.messages, 40 * lanes);
  await Promise.all(outboxes.map((outbox) => outbox.close()));
  await until('all are fenced', () => inbox.laneCount === 0);
  await inbox.close();
});

const shapes: Omit<Run, 'seed' | 'steps' | 'breaks'>[] = [
  { slots: 8, dataBytes: 4096, retainMessages: 32, retainBytes: 16384 },
  { slots: 1, dataBytes: 64, retainMessages: 1, retainBytes: 64 },
  { slots: 3, dataBytes: 192, retainMessages: 5, retainBytes: 4096 },
  { slots: 64, dataBytes: 1024, retainMessages: 7, retainBytes: 1024 },
  { slots: 5, dataBytes: 8192, retainMessages: 100, retainBytes: 8192 },
];

for (const [i, shape] of shapes.entries()) {
  void t.test(`random schedules keep the protocol: ${JSON.stringify(shape)}`, async (t) => {
    for (let seed = 1; seed <= 4; seed++) {
      const breaks = seed === 1 ? 0 : 3 * seed;
      const wrong = await play({ ...shape, seed: seed * 7919 + i, steps: 1500, breaks });
      t.strictSame(wrong.slice(0, 5), [], `seed ${seed}`);
    }
  });
}
