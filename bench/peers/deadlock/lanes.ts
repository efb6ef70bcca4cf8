// The third protocol: the inbox and outbox that are shipped, on the same simulated device.
import { Inbox, type InboxMessage, Outbox } from '../../../src/ts/ring/index.js';
import type { RingPort } from '../../../src/ts/ring/port.js';
import type { Books } from './books.js';
import { SECRET } from './requester.js';
import { bytesOf, HANDLE_MS, LANE_BYTES, LANE_SLOTS, MESSAGES, PRODUCERS, type Workload } from './workload.js';

/** Longer than a trial: an outbox that gives up would be no rival. */
const RECONNECT_MS = 60_000;

/** Opens the inbox of a trial. */
export async function openInbox(port: RingPort, books: Books): Promise<{ host: string; port: number }> {
  const waiting: InboxMessage[] = [];
  let handling = false;
  // One message at a time, from the lane itself: it is released when it has been handled.
  const handle = () => {
    const message = waiting.shift();
    handling = message !== undefined;
    if (message === undefined) return;
    books.delivered(Number(message.from), message.sequence, message.bytes);
    message.done();
    port.clock.after(HANDLE_MS, handle);
  };
  const inbox = await Inbox.listenOn(port, {
    secret: SECRET,
    maxLanes: PRODUCERS,
    maxSlots: LANE_SLOTS,
    maxDataBytes: LANE_BYTES,
    wait: 'event',
    onMessage: (message) => {
      waiting.push(message);
      if (!handling) handle();
    },
  });
  return inbox.bootstrap;
}

/** Sends all messages of a producer; each counts as sent when it is acknowledged. */
export async function sendAll(
  port: RingPort,
  books: Books,
  workload: Workload,
  index: number,
  to: () => { host: string; port: number },
): Promise<void> {
  const outbox = await Outbox.connectOn(port, {
    to,
    secret: SECRET,
    name: String(index),
    slots: LANE_SLOTS,
    dataBytes: LANE_BYTES,
    wait: 'event',
    reconnectMs: RECONNECT_MS,
    onAcknowledged: (sequence) => books.sent(index, sequence),
  });
  for (let sequence = 1; sequence <= MESSAGES; sequence++) {
    await new Promise<void>((resolve) => port.clock.after(workload.gaps[index]![sequence - 1]!, resolve));
    await outbox.send(bytesOf(workload, index, sequence));
  }
  await outbox.whenAcknowledged();
}
