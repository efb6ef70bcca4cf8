// Proves that messages larger than the lane are pulled: into new or given memory, in segments, over a lost connection,
// with a checksum; that they can be cancelled; and that an inbox that pulls nothing gets nothing to pull.
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { InboxMessage } from '../../src/ts/ring/index.js';
import { MessageKind } from '../../src/ts/ring/layout.js';
import { RawProducer } from './raw-producer.js';
import {
  breakConnection,
  codeOf,
  content,
  DEVICE,
  hasContent,
  openInbox,
  openOutbox,
  thrownCode,
  until,
} from './support.js';

const MIB = 2 ** 20;
const LARGE = DEVICE === 'soft0' ? 20 * MIB + 13 : 2 * MIB + 13;

async function scene(maxPullBytes = LARGE, outboxOptions: Parameters<typeof openOutbox>[1] = {}) {
  const got: InboxMessage[] = [];
  const inbox = await openInbox({ maxPullBytes, onMessage: (message) => got.push(message) });
  const outbox = await openOutbox(inbox, { pullBytes: 4 * LARGE, ...outboxOptions });
  const next = async (n: number) => {
    await until(`message ${n} is there`, () => got.length >= n);
    return got[n - 1] as InboxMessage;
  };
  const close = async () => {
    await outbox.close();
    await inbox.close();
  };
  return { inbox, outbox, next, close };
}

void t.test('a message larger than its lane is pulled, in segments, and then released and acknowledged', async (t) => {
  const { inbox, outbox, next, close } = await scene();
  t.equal(outbox.maxMessageBytes, LARGE);
  await outbox.send([content(1, LARGE).subarray(0, 100), content(1, LARGE).subarray(100)]);
  await outbox.send(content(2, 10));
  const message = await next(1);
  t.ok(message.isPulled);
  t.equal(message.length, LARGE);
  t.equal(
    thrownCode(() => message.bytes),
    'RDMA_ERR_BUSY',
  );
  const pull = message.pull();
  t.equal(
    thrownCode(() => message.acknowledge()),
    'RDMA_ERR_BUSY',
    'not in the middle',
  );
  t.equal(await codeOf(message.pull()), 'RDMA_ERR_BUSY', 'nor twice at a time');
  const bytes = await pull;
  t.equal(bytes.length, LARGE);
  t.ok(hasContent(bytes, 1));
  t.equal(await message.pull(), bytes, 'again it is there already');
  t.equal(message.bytes, bytes);
  const small = await next(2);
  t.ok(!small.isPulled && (await small.pull()) === small.bytes, 'any message can be asked for');
  message.done();
  small.done();
  await outbox.whenAcknowledged();
  t.strictSame([inbox.counters.pulls, inbox.counters.pulledBytes, outbox.counters.pulled], [1, LARGE, 1]);
  t.ok(hasContent(bytes, 1), 'what was pulled stays');
  await close();
});

void t.test('it is pulled into memory of the caller, and built without a copy', async (t) => {
  const { outbox, next, close } = await scene();
  const reservation = await outbox.reserve(LARGE);
  reservation.bytes.set(content(1, LARGE - 5));
  reservation.commit(LARGE - 5);
  const message = await next(1);
  // Of another realm, which is as good.
  const into = runInNewContext(`new Uint8Array(${LARGE + 64})`).fill(9);
  t.equal(await codeOf(message.pull(new Uint8Array(10))), 'RDMA_ERR_INVALID_ARGUMENT');
  const bytes = await message.pull(into);
  t.equal(bytes.buffer, into.buffer);
  t.equal(bytes.length, LARGE - 5);
  t.ok(hasContent(bytes, 1));
  t.ok(
    into.subarray(LARGE - 5).every((byte: number) => byte === 9),
    'nothing behind it is touched',
  );
  message.done();
  await outbox.whenAcknowledged();
  t.equal(await codeOf(message.pull()), undefined, 'what is here stays here');
  outbox.tryReserve(LARGE)?.abort();
  await outbox.whenAcknowledged();
  await close();
});

void t.test(
  'a pull goes on over a lost connection; one whose producer is gone fails, and the rest lives',
  async (t) => {
    const { inbox, outbox, next, close } = await scene();
    await outbox.send(content(1, LARGE));
    const message = await next(1);
    const pull = message.pull();
    breakConnection(outbox);
    t.ok(hasContent(await pull, 1));
    message.done();
    await outbox.whenAcknowledged();
    await outbox.send(content(2, LARGE));
    const lost = await next(2);
    const other = await openOutbox(inbox, { name: 'other', pullBytes: LARGE });
    await outbox.close();
    await until('the lane is fenced', () => inbox.laneCount === 1);
    t.equal(await codeOf(lost.pull(undefined, { timeoutMs: 50 })), 'RDMA_ERR_PEER_GONE');
    t.equal(await codeOf(lost.pull(undefined, { signal: AbortSignal.abort() })), 'RDMA_ERR_ABORTED');
    lost.done();
    t.equal(await codeOf(lost.pull()), 'RDMA_ERR_CLOSED', 'it was acknowledged');
    await other.send(content(1, LARGE));
    const alive = await next(3);
    t.ok(hasContent(await alive.pull(), 1));
    alive.done();
    const waiting = lost.sequence; // the inbox is closed while somebody pulls
    t.equal(waiting, 2);
    await other.send(content(2, LARGE));
    const last = await next(4);
    await other.close();
    await until('the other one is gone as well', () => inbox.laneCount === 0);
    const ending = codeOf(last.pull());
    await close();
    t.equal(await ending, 'RDMA_ERR_CLOSED');
  },
);

void t.test('memory for messages to be pulled is bounded and used again', async (t) => {
  const { outbox, next, close } = await scene(LARGE, { pullBytes: LARGE + MIB, timeoutMs: 1 } as object);
  await outbox.send(content(1, LARGE));
  t.equal(outbox.trySend(content(2, LARGE)), 0, 'no room for a second one');
  t.equal(await codeOf(outbox.send(content(2, LARGE), { timeoutMs: 20 })), 'RDMA_ERR_TIMEOUT');
  const { payloadBytes } = outbox.status();
  t.ok(payloadBytes >= LARGE && payloadBytes <= LARGE + MIB);
  for (let n = 1; n <= 3; n++) {
    const message = await next(n);
    t.ok(hasContent(await message.pull(), n));
    message.done();
    await outbox.whenAcknowledged();
    if (n < 3) await outbox.send(content(n + 1, LARGE));
  }
  t.equal(outbox.status().payloadBytes, payloadBytes, 'the same memory served all');
  t.equal(
    thrownCode(() => outbox.trySend(new Uint8Array(LARGE + 1))),
    'RDMA_ERR_MESSAGE_TOO_LARGE',
  );
  await close();
});

void t.test('what is pulled although the lane could take it: pullAboveBytes', async (t) => {
  const { outbox, next, close } = await scene(LARGE, { pullAboveBytes: 1000 });
  await outbox.send(content(1, 1000));
  await outbox.send(content(2, 1001));
  t.notOk((await next(1)).isPulled);
  const pulled = await next(2);
  t.ok(pulled.isPulled);
  t.ok(hasContent(await pulled.pull(), 2));
  await close();
});

void t.test('a checksum is verified for what is pulled, and for what is not', async (t) => {
  const { inbox, outbox, next, close } = await scene(LARGE, { checksum: true });
  await outbox.send(content(1, 1000));
  t.ok(hasContent((await next(1)).bytes, 1));
  const reservation = await outbox.reserve(LARGE);
  const { bytes } = reservation;
  bytes.set(content(2, LARGE));
  reservation.commit();
  bytes[LARGE >> 1]! ^= 1; // a producer that goes on writing what it has sent
  const changed = await next(2);
  t.equal(await codeOf(changed.pull()), 'RDMA_ERR_PROTOCOL');
  bytes[LARGE >> 1]! ^= 1;
  t.ok(hasContent(await changed.pull(), 2), 'as it was sent it is right');
  t.equal(inbox.counters.fences, 0);
  const raw = await RawProducer.connect(inbox);
  raw.write(content(1, 100), { flags: 1 });
  await until('a wrong checksum fences', () => inbox.counters.fences === 1);
  raw.close();
  await close();
});

void t.test('an inbox that pulls nothing is sent nothing to pull, and fences who tries', async (t) => {
  const { inbox, outbox, next, close } = await scene(0);
  t.equal(
    thrownCode(() => outbox.trySend(new Uint8Array(5000))),
    'RDMA_ERR_MESSAGE_TOO_LARGE',
  );
  const wrongs = [
    { kind: MessageKind.PULL, length: 1, space: 0 },
    { kind: MessageKind.SKIP, length: 1, space: 64 },
    { kind: MessageKind.SKIP, length: 0, space: 5000 },
    { kind: MessageKind.DATA, length: 65, space: 64 },
    { kind: 4 },
    { kind: 0 },
  ];
  for (const [n, wrong] of wrongs.entries()) {
    const raw = await RawProducer.connect(inbox);
    raw.write(content(1, 100), wrong);
    await until(`${JSON.stringify(wrong)} is fenced`, () => inbox.counters.fences === n + 1);
    raw.close();
  }
  await outbox.send(content(1, 10));
  t.ok(hasContent((await next(1)).bytes, 1));
  await close();
});

void t.test(
  'a producer that points to memory that is not there: the pull fails, its lane ends, nobody else notices',
  async (t) => {
    const { inbox, outbox, next, close } = await scene(LARGE);
    const raw = await RawProducer.connect(inbox);
    raw.write(new Uint8Array(0), { kind: MessageKind.PULL, length: 1000, space: 0, address: 4096 });
    const message = await next(1);
    t.equal(await codeOf(message.pull(undefined, { timeoutMs: 200 })), 'RDMA_ERR_PEER_GONE');
    await until('its lane has ended', () => inbox.laneCount === 1);
    raw.close();
    await outbox.send(content(1, 10));
    t.ok(hasContent((await next(2)).bytes, 1));
    await close();
  },
);
