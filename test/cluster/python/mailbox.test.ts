// Proves that records go round the rings unchanged, that a full ring refuses, and that rings which somebody has written
// over are an error.
import t from 'tap';
import { Mailbox, MAILBOX_BYTES, MAX_RECORD_BYTES, RING_BYTES } from '../../../src/ts/cluster/python/mailbox.js';

/** A mailbox whose ring to Python is also its ring to Node: it takes what it has posted. */
function looped(): { mailbox: Mailbox; words: Int32Array; carry: () => void } {
  const buffer = new ArrayBuffer(MAILBOX_BYTES);
  const words = new Int32Array(buffer, 0, 1024);
  const bytes = new Uint8Array(buffer);
  const mailbox = new Mailbox(buffer);
  const carry = () => {
    bytes.copyWithin(4096 + RING_BYTES, 4096, 4096 + RING_BYTES);
    words[32] = words[0]!;
  };
  return { mailbox, words, carry };
}

void t.test('records of many lengths come unchanged and in order, round the end of the ring', async (t) => {
  const { mailbox, words, carry } = looped();
  for (let i = 0; i < 40; i++) {
    const sent = [`${i}`, 'é€😀'.repeat(i * 997), 'x'.repeat((i * 104_729) % 1_000_000)];
    for (const text of sent) t.ok(mailbox.post(text));
    carry();
    for (const text of sent) t.ok(mailbox.take() === text, `record of ${text.length}`);
    t.equal(mailbox.take(), undefined);
    words[16] = words[0]!; // Python has taken them
  }
});

void t.test('positions go round 2^32', async (t) => {
  const { mailbox, words, carry } = looped();
  for (const at of [0, 16, 32, 48]) words[at] = -64;
  for (let i = 0; i < 20; i++) {
    t.ok(mailbox.post(`record ${i}`));
    carry();
    t.equal(mailbox.take(), `record ${i}`);
    words[16] = words[0]!;
  }
});

void t.test('a full ring refuses until it is read; what is too long is an error', async (t) => {
  const { mailbox, words } = looped();
  const text = 'x'.repeat(MAX_RECORD_BYTES - 16);
  t.ok(mailbox.post(text));
  t.ok(mailbox.post(text));
  t.notOk(mailbox.post(text));
  words[16] = words[0]!;
  t.ok(mailbox.post(text));
  t.throws(() => mailbox.post(`${text}${text}`), { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' });
});

void t.test('each end says whether it polls', async (t) => {
  const { mailbox, words } = looped();
  t.equal(mailbox.pythonPolls, false);
  words[256] = 1;
  t.equal(mailbox.pythonPolls, true);
  mailbox.setPolls(true);
  t.equal(words[272], 1);
  mailbox.setPolls(false);
  t.equal(words[272], 0);
});

void t.test('what cannot be a record is an error', async (t) => {
  for (const spoil of [
    (words: Int32Array) => (words[32] = RING_BYTES + 8),
    (words: Int32Array) => (words[48] = 4),
    (words: Int32Array, bytes: DataView) => {
      words[32] = 8;
      bytes.setUint32(4096 + RING_BYTES, 0xffffffff);
    },
  ]) {
    const buffer = new ArrayBuffer(MAILBOX_BYTES);
    spoil(new Int32Array(buffer, 0, 1024), new DataView(buffer));
    t.throws(() => new Mailbox(buffer).take(), { code: 'RDMA_ERR_PROTOCOL' });
  }
});
