// Proves that an inbox looks at blocks that stay with their producer: mapped where memory is shared, else READ; what a
// hostile producer says of its memory is refused; nothing stays mapped that nobody uses.
import t from 'tap';
import {
  type InboxMessage,
  type InboxOptions,
  MemoryPool,
  type MemoryReference,
  type OutboxOptions,
} from '../../src/ts/ring/index.js';
import { decodeReference, encodeReference } from './pool-owner-main.js';
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

const shared = DEVICE === 'soft0';
/** Longer than one READ; an emulated device takes a second for it. */
const LONG = shared ? 100_000_000 : 20_000_000;

async function setUp(options: Partial<InboxOptions> = {}, of: Partial<OutboxOptions> = {}) {
  const got: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => got.push(message), ...options });
  const pool = MemoryPool.open({ device: DEVICE });
  // The pool's device.
  const outbox = await openOutbox(inbox, { pool, ...of });
  const next = async () => {
    await until('a message comes', () => got.length > 0);
    return got.shift()!;
  };
  const end = async () => {
    await outbox.close();
    await inbox.close();
    pool.close();
  };
  return { inbox, pool, outbox, next, end };
}

const encode = encodeReference;
const decode = (message: InboxMessage) => decodeReference(message.bytes);

void t.test("a block is seen in its producer's memory, and read", async (t) => {
  const { inbox, pool, outbox, next, end } = await setUp();
  for (const [i, length] of [1, 64, 5000, 300_000, 5_000_000].entries()) {
    const block = pool.allocate(length)!;
    block.bytes.set(content(i, length));
    await outbox.send(encode(block));
    const message = await next();
    const reference = decode(message);
    const into = new Uint8Array(length + 10);
    await message.read(reference, into);
    t.ok(hasContent(into.subarray(0, length), i), `${length} bytes are read`);
    t.ok(
      into.subarray(length).every((byte) => byte === 0),
      'and no more',
    );
    const view = message.map(reference);
    t.equal(view !== undefined, shared);
    if (view !== undefined) {
      t.ok(hasContent(view, i), `${length} bytes are mapped`);
      block.bytes[0] = block.bytes[0]! ^ 255;
      t.equal(view[0], block.bytes[0], 'without a copy');
    }
    message.done();
    await outbox.whenAcknowledged();
    block.release();
  }
  t.match(inbox.counters, { reads: 5, readBytes: 5_305_065, pulls: 0 });
  t.equal(inbox.status().mappedBytes > 5_000_000, shared);
  await end();
});

void t.test(
  'pieces of one segment share its mapping; it stays while a message holds it',
  { skip: !shared },
  async (t) => {
    const { inbox, pool, outbox, next, end } = await setUp();
    const blocks = [1, 2, 3].map((seed) => {
      const block = pool.allocate(1000)!;
      block.bytes.set(content(seed, 1000));
      return block;
    });
    for (const block of blocks) await outbox.send(encode(block));
    const messages = [await next(), await next(), await next()];
    const views = messages.map((message) => message.map(decode(message))!);
    t.equal(inbox.status().mappedBytes, blocks[0]!.segmentBytes, 'mapped once');
    t.equal(views[0]!.buffer, views[1]!.buffer);
    messages[0]!.done();
    messages[0]!.done();
    messages[2]!.done();
    breakConnection(outbox);
    await until('the lane has ended', () => !outbox.connected);
    await until('there is another one', () => outbox.connected);
    t.ok(hasContent(views[1]!, 2), 'what is held stays, though its lane is gone');
    await outbox.send(encode(blocks[0]!));
    const last = await next();
    t.ok(hasContent(last.map(decode(last))!, 1));
    t.equal(inbox.status().mappedBytes, blocks[0]!.segmentBytes, 'and is found again on the next lane');
    messages[1]!.done();
    last.done();
    breakConnection(outbox);
    await until('of a producer that is away nothing unused stays', () => inbox.status().mappedBytes === 0);
    t.equal(views[1]!.length, 0, 'and a view that is kept too long shows nothing');
    await end();
  },
);

void t.test('after release there is still what it refers to; after acknowledgement there is not', async (t) => {
  const { pool, outbox, next, end } = await setUp();
  const block = pool.allocate(100)!;
  block.bytes.set(content(1, 100));
  await outbox.send(encode(block));
  await outbox.send(encode(block));
  const [first, second] = [await next(), await next()];
  const reference = decode(first);
  first.release();
  const view = first.map(reference);
  t.equal(view !== undefined, shared);
  t.ok(view === undefined || hasContent(view, 1));
  const into = new Uint8Array(100);
  await first.read(reference, into);
  t.ok(hasContent(into, 1));
  first.acknowledge();
  second.acknowledge();
  for (const message of [first, second]) {
    t.equal(
      thrownCode(() => message.map(reference)),
      'RDMA_ERR_CLOSED',
    );
    t.equal(await codeOf(message.read(reference, new Uint8Array(100))), 'RDMA_ERR_CLOSED');
  }
  await end();
});

void t.test('while it is read a message cannot be acknowledged; a read ends by its signal', async (t) => {
  const { pool, outbox, next, end } = await setUp();
  const block = pool.allocate(LONG)!;
  await outbox.send(encode(block));
  const message = await next();
  const reading = message.read(decode(message), new Uint8Array(LONG));
  t.equal(
    thrownCode(() => message.acknowledge()),
    'RDMA_ERR_BUSY',
  );
  await reading;
  const signal = AbortSignal.abort();
  t.equal(await codeOf(message.read(decode(message), new Uint8Array(LONG), { signal })), 'RDMA_ERR_ABORTED');
  message.done();
  await end();
});

void t.test('a read whose lane is lost begins again on the next one', async (t) => {
  const { pool, outbox, next, end } = await setUp();
  const block = pool.allocate(LONG)!;
  block.bytes.set(content(9, LONG));
  await outbox.send(encode(block));
  const message = await next();
  const into = new Uint8Array(LONG);
  const reading = message.read(decode(message), into);
  breakConnection(outbox);
  await reading;
  t.ok(hasContent(into, 9));
  await end();
});

void t.test('what is wrong in itself is refused before anybody is asked', async (t) => {
  const { pool, outbox, next, end } = await setUp();
  const block = pool.allocate(1000)!;
  await outbox.send(encode(block));
  const message = await next();
  const right = decode(message);
  const wrongs: unknown[] = [
    null,
    7,
    {},
    { ...right, address: -1 },
    { ...right, address: 2 ** 53 },
    { ...right, address: right.address + 0.5 },
    { ...right, address: right.segmentAddress - 1 },
    { ...right, address: right.segmentAddress + right.segmentBytes - 999 },
    { ...right, address: `${right.address}` },
    { ...right, length: -1 },
    { ...right, length: right.segmentBytes + 1 },
    { ...right, length: 2 ** 32 },
    { ...right, length: Number.NaN },
    { ...right, rkey: 2 ** 32 },
    { ...right, rkey: undefined },
    { ...right, segment: -1 },
    { ...right, segmentBytes: 0 },
    { ...right, segmentBytes: 2 ** 50 },
    { ...right, segmentAddress: Number.POSITIVE_INFINITY },
  ];
  for (const wrong of wrongs) {
    t.equal(
      thrownCode(() => message.map(wrong as MemoryReference)),
      'RDMA_ERR_PROTOCOL',
    );
    t.equal(await codeOf(message.read(wrong as MemoryReference, new Uint8Array(2000))), 'RDMA_ERR_PROTOCOL');
  }
  t.equal(await codeOf(message.read(right, new Uint8Array(999))), 'RDMA_ERR_INVALID_ARGUMENT');
  t.ok(outbox.connected, 'and the lane goes on');
  await end();
});

void t.test('what the producer does not allow is not mapped', { skip: !shared }, async (t) => {
  const { inbox, pool, outbox, next, end } = await setUp();
  const block = pool.allocate(1000)!;
  const foreign = MemoryPool.open();
  const elsewhere = foreign.allocate(1000)!;
  await outbox.send(encode(block));
  const message = await next();
  const right = decode(message);
  const wrongs: MemoryReference[] = [
    { ...right, rkey: (right.rkey ^ 1) >>> 0 },
    { ...right, rkey: 0 },
    { ...right, segmentBytes: right.segmentBytes + 4096 },
    { ...right, segmentAddress: right.segmentAddress - 64, segmentBytes: right.segmentBytes },
    { ...right, address: 4096, segmentAddress: 4096, segmentBytes: 4096 },
    decodeReference(encode(elsewhere)),
  ];
  for (const wrong of wrongs)
    t.equal(
      thrownCode(() => message.map(wrong)),
      'RDMA_ERR_PROTOCOL',
    );
  t.equal(inbox.status().mappedBytes, 0);
  t.ok(message.map(right));
  const known = [
    { ...right, rkey: (right.rkey ^ 1) >>> 0 },
    { ...right, segmentBytes: right.segmentBytes - 64 },
    {
      ...right,
      segmentAddress: right.segmentAddress + 64,
      segmentBytes: right.segmentBytes - 64,
      address: right.segmentAddress + 64,
    },
  ];
  for (const wrong of known)
    t.equal(
      thrownCode(() => message.map(wrong)),
      'RDMA_ERR_PROTOCOL',
      'nor said of what is known',
    );
  foreign.close();
  await end();
});

void t.test('a READ with a wrong key fails once, and is not tried for ever', async (t) => {
  const { inbox, pool, outbox, next, end } = await setUp();
  const block = pool.allocate(1000)!;
  await outbox.send(encode(block));
  const message = await next();
  const right = decode(message);
  const wrong = { ...right, rkey: (right.rkey ^ 1) >>> 0 };
  t.equal(await codeOf(message.read(wrong, new Uint8Array(1000))), 'RDMA_ERR_PROTOCOL');
  await until('the producer has a lane again', () => outbox.connected && inbox.laneCount === 1);
  await message.read(right, new Uint8Array(1000));
  message.done();
  await outbox.whenAcknowledged();
  await end();
});

void t.test('a pool belongs to one device, and outlives its outboxes', async (t) => {
  const { inbox, pool, outbox, next, end } = await setUp();
  await t.rejects(openOutbox(inbox, { pool: {} as MemoryPool }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  await t.rejects(openOutbox(inbox, { pool, device: 'other0' }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  const second = await openOutbox(inbox, { pool, name: 'second' });
  const block = pool.allocate(100)!;
  block.bytes.set(content(1, 100));
  await second.send(encode(block));
  (await next()).done();
  await second.whenAcknowledged();
  await second.close();
  await outbox.send(encode(block));
  const message = await next();
  const into = new Uint8Array(100);
  await message.read(decode(message), into);
  t.ok(hasContent(into, 1), 'the other outbox goes on');
  await end();
  await t.rejects(openOutbox({ host: '127.0.0.1', port: 1 }, { pool }), { code: 'RDMA_ERR_CLOSED' });
});
