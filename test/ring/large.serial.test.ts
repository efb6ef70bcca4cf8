// Proves that a message may be longer than 2^31 bytes, which is more than one RDMA operation can carry: it is pulled in
// segments. Takes a little more than twice its length of memory.
import { freemem } from 'node:os';
import t from 'tap';
import { openInbox, openOutbox } from './support.js';

const LENGTH = 2 ** 31 + 4096;
const NEEDED_BYTES = 2.5 * LENGTH;
const STRIDE_BYTES = 1 << 20;

/** What the word at `at` must be. */
const stampOf = (at: number) => (Math.imul(at / 4, 0x9e3779b1) ^ 0x5bd1e995) >>> 0;

/** Each stride's first word, and all words around 2^31 and at the end. */
function* placesOf(length: number): Generator<number> {
  for (let at = 0; at + 4 <= length; at += STRIDE_BYTES) yield at;
  for (let at = 2 ** 31 - 4096; at + 4 <= length; at += 4) yield at;
}

const words = `needs ${(NEEDED_BYTES / 2 ** 30).toFixed(1)} GiB of free memory`;
const skip = freemem() < NEEDED_BYTES ? words : false;

void t.test('a message of 2^31 + 4096 bytes is pulled whole', { skip, timeout: 0 }, async (t) => {
  const inbox = await openInbox({ maxPullBytes: LENGTH });
  const outbox = await openOutbox(inbox, { pullBytes: LENGTH });
  t.equal(outbox.maxMessageBytes, LENGTH);
  const reservation = await outbox.reserve(LENGTH);
  t.equal(reservation.bytes.length, LENGTH);
  const { buffer, byteOffset } = reservation.bytes;
  const words = new Uint32Array(buffer, byteOffset, LENGTH / 4);
  for (const at of placesOf(LENGTH)) words[at / 4] = stampOf(at);
  reservation.commit();
  t.throws(() => outbox.trySend(new Uint8Array(1), new Uint8Array(LENGTH)), { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' });
  for await (const message of inbox) {
    t.equal(message.length, LENGTH);
    t.ok(message.isPulled);
    const bytes = await message.pull(undefined, { timeoutMs: 10 * 60_000 });
    t.equal(bytes.length, LENGTH);
    const got = new Uint32Array(bytes.buffer, bytes.byteOffset, LENGTH / 4);
    let wrong = 0;
    for (const at of placesOf(LENGTH)) if (got[at / 4] !== stampOf(at)) wrong++;
    t.equal(wrong, 0);
    message.done();
    break;
  }
  await outbox.whenAcknowledged();
  t.equal(inbox.counters.pulledBytes, LENGTH);
  await outbox.close();
  await inbox.close();
});
