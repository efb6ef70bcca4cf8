// Proves: copyTo() copies exactly the message, wherever it lies in the lane, and refuses what has no room.
import t from 'tap';
import type { InboxMessage } from '../../src/ts/ring/index.js';
import { content, hasContent, openInbox, openOutbox, thrownCode, until } from './support.js';

const INVALID = 'RDMA_ERR_INVALID_ARGUMENT';
const LENGTHS = [0, 1, 63, 64, 65, 128, 129, 1000, 3000, 200_001];
/** What the target contains around a copy. */
const GUARD = 0x5a;

const isCopy = (target: Uint8Array, offset: number, length: number, seed: number) =>
  hasContent(target.subarray(offset, offset + length), seed) &&
  target.subarray(0, offset).every((byte) => byte === GUARD) &&
  target.subarray(offset + length).every((byte) => byte === GUARD);

void t.test('a lane and a message copy all of it, and nothing else', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { slots: 4, dataBytes: 1 << 19 });
  let seed = 0;
  // Several times round the data ring.
  for (let round = 0; round < 6; round++) {
    for (const length of LENGTHS) {
      seed++;
      await outbox.send(content(seed, length));
      let copies = 0;
      await until(`${length} bytes`, () => {
        inbox.poll((lane) => {
          for (const offset of [0, 3]) {
            const target = new Uint8Array(length + 10).fill(GUARD);
            const message = lane.message();
            for (const from of [lane, message]) {
              target.fill(GUARD);
              if (from.copyTo(target, offset) !== length || !isCopy(target, offset, length, seed)) {
                t.fail(`${length} bytes to ${offset} in round ${round}`);
              }
              copies++;
            }
          }
          lane.release(lane.sequence);
          lane.acknowledge(lane.sequence);
        });
        return copies > 0;
      });
      t.equal(copies, 4);
    }
  }
  await outbox.close();
  await inbox.close();
});

void t.test('what has no room is refused, and nothing is copied', async (t) => {
  const messages: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => messages.push(message) });
  const outbox = await openOutbox(inbox);
  await outbox.send(content(1, 200));
  await until('it is there', () => messages.length === 1);
  const [message] = messages;
  const target = new Uint8Array(200).fill(GUARD);
  for (const [into, offset] of [
    [new Uint8Array(199).fill(GUARD), 0],
    [target, 1],
    [target, -1],
    [target, 0.5],
    [target, Number.NaN],
    [target, '0'],
    [new Uint16Array(200), 0],
    [undefined, 0],
    [target.buffer, 0],
  ]) {
    t.equal(
      thrownCode(() => message!.copyTo(into as Uint8Array, offset as number)),
      INVALID,
      `${String(into)?.slice(0, 20)} ${String(offset)}`,
    );
  }
  t.ok(target.every((byte) => byte === GUARD));
  t.equal(message!.copyTo(target), 200);
  t.ok(hasContent(target, 1));
  message!.done();
  await outbox.close();
  await inbox.close();
});

void t.test('a message that is still with its producer has to be pulled first', async (t) => {
  const messages: InboxMessage[] = [];
  const inbox = await openInbox({ maxPullBytes: 1 << 20, onMessage: (message) => messages.push(message) });
  const outbox = await openOutbox(inbox, { dataBytes: 8192, pullBytes: 1 << 20 });
  await outbox.send(content(7, 100_000));
  await until('it is there', () => messages.length === 1);
  const target = new Uint8Array(100_000);
  t.equal(
    thrownCode(() => messages[0]!.copyTo(target)),
    'RDMA_ERR_BUSY',
  );
  await messages[0]!.pull(target);
  t.ok(hasContent(target, 7));
  messages[0]!.done();
  await outbox.close();
  await inbox.close();
});
