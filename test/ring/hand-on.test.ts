// Proves that what came by reference stays readable when its owner is killed, and goes on by reference from there.
import t from 'tap';
import { type InboxMessage, MemoryPool } from '../../src/ts/ring/index.js';
import { decodeReference, encodeReference, type PoolOwnerArgs } from './pool-owner-main.js';
import { hasContent, openInbox, openOutbox, start, thrownCode, until } from './support.js';

const LENGTHS = [10, 5000, 1_000_000, 3_000_000];

void t.test('bytes of an owner that was killed are seen here, and by whoever they are handed on to', async (t) => {
  const got: InboxMessage[] = [];
  const there: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => got.push(message) });
  const next = await openInbox({ onMessage: (message) => there.push(message) });
  const pool = MemoryPool.open();
  const onward = await openOutbox(next, { pool });
  const args: PoolOwnerArgs = { port: inbox.bootstrap.port, lengths: LENGTHS };
  const owner = start('pool-owner-main', args);
  await owner.hear('published');
  await until('all have come', () => got.length === LENGTHS.length);
  const references = got.map((message) => decodeReference(message.bytes));
  const views = got.map((message, i) => message.map(references[i]!)!);
  // One goes on while its owner lives, the others after that.
  const early = got[0]!.handOn(references[0]!, pool)!;
  await onward.send(encodeReference(early));
  owner.process.kill('SIGKILL');
  await owner.exited;
  await until('its lane has ended', () => inbox.laneCount === 0);
  for (const [i, view] of views.entries()) t.ok(hasContent(view, i), `${view.length} bytes are still here`);
  for (const [i, message] of got.entries()) {
    if (i > 0) await onward.send(encodeReference(message.handOn(references[i]!, pool)!));
  }
  await until('all have come there', () => there.length === LENGTHS.length);
  const seen = there.map((message) => message.map(decodeReference(message.bytes))!);
  for (const [i, view] of seen.entries()) {
    t.ok(hasContent(view, i), `${view.length} bytes are seen there`);
    t.equal(view.length, LENGTHS[i]);
  }
  const middle = new Uint8Array(1_000_000);
  await there[2]!.read(decodeReference(there[2]!.bytes), middle);
  t.ok(hasContent(middle, 2), 'and are read');
  t.equal(pool.status().registeredBytes, 0, 'the pool has no memory of its own for that');

  for (const message of there) message.done();
  await onward.whenAcknowledged();
  for (const message of got) message.done();
  t.equal(inbox.status().mappedBytes, 0, 'of an owner that is gone nothing stays');
  t.ok(views.every((view) => view.length === 0));
  t.equal(
    thrownCode(() => got[1]!.handOn(references[1]!, pool)),
    'RDMA_ERR_CLOSED',
  );
  await onward.close();
  for (const each of [inbox, next]) await each.close();
  pool.close();
});

void t.test('a piece goes on as a piece, and one mapping is adopted once', async (t) => {
  const got: InboxMessage[] = [];
  const there: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => got.push(message) });
  const next = await openInbox({ onMessage: (message) => there.push(message) });
  const first = MemoryPool.open();
  const second = MemoryPool.open();
  const from = await openOutbox(inbox, { pool: first });
  const onward = await openOutbox(next, { pool: second });
  const block = first.allocate(1000)!;
  for (let i = 0; i < 1000; i++) block.bytes[i] = i % 251;
  await from.send(encodeReference(block));
  await until('it has come', () => got.length === 1);
  const message = got[0]!;
  const reference = decodeReference(message.bytes);
  const all = message.handOn(reference, second)!;
  const piece = message.handOn({ ...reference, address: reference.address + 300, length: 10 }, second)!;
  t.equal(piece.segment, all.segment);
  t.equal(piece.address, all.address + 300);
  await onward.send(encodeReference(piece));
  await until('it has come there', () => there.length === 1);
  const view = there[0]!.map(decodeReference(there[0]!.bytes))!;
  t.strictSame([...view], [49, 50, 51, 52, 53, 54, 55, 56, 57, 58]);
  block.bytes[300] = 7;
  t.equal(view[0], 7, 'they are the bytes of their first owner');
  second.close();
  t.equal(
    thrownCode(() => message.handOn(reference, second)),
    'RDMA_ERR_CLOSED',
  );
  t.equal(message.map(reference)![300], 7, 'and stay mapped when the pool that adopted them is closed');
  for (const outbox of [from, onward]) await outbox.close();
  for (const each of [inbox, next]) await each.close();
  first.close();
});
