// Proves that every call refuses arguments that it cannot use, on hot paths too, and that a refused call changes
// nothing; and that nobody waits in silence for a message that was never given back.
import t from 'tap';
import { type Inbox, type InboxMessage, type Lane, MemoryPool, type Outbox } from '../../src/ts/ring/index.js';
import { codeOf, DEVICE, openInbox, openOutbox, thrownCode, until } from './support.js';

const INVALID = 'RDMA_ERR_INVALID_ARGUMENT';
const WRONG_SEQUENCES = [undefined, null, Number.NaN, 0, -1, 1.5, 4, 2 ** 53, Infinity, '1', 1n, {}, [1]];

// As plain JavaScript sees it.
type Loose = Record<string, (...args: unknown[]) => unknown>;
const loose = (value: unknown) => value as Loose;

void t.test('a lane gives back nothing but messages that were delivered', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { slots: 4 });
  for (let i = 0; i < 3; i++) await outbox.send(new Uint8Array(8));
  const lanes: Lane[] = [];
  await until('all are there', () => {
    inbox.poll((lane) => lanes.push(lane));
    return lanes.length === 3;
  });
  const lane = lanes[0]!;
  for (const name of ['release', 'acknowledge']) {
    for (const wrong of WRONG_SEQUENCES) {
      t.equal(
        thrownCode(() => loose(lane)[name]!(wrong)),
        INVALID,
        `${name}(${String(wrong)})`,
      );
    }
    t.equal(
      thrownCode(() => loose(lane)[name]!()),
      INVALID,
    );
  }
  t.match(inbox.status(), { heldMessages: 3, unacknowledgedMessages: 3 }, 'nothing was given back');
  for (const sequence of [2, 1, 1, 3, 2]) {
    lane.release(sequence);
    lane.acknowledge(sequence);
  }
  t.match(inbox.status(), { heldMessages: 0, unacknowledgedMessages: 0 });
  t.equal(
    thrownCode(() => lane.release(4)),
    INVALID,
    'nor one that has yet to come',
  );
  await outbox.close();
  await inbox.close();
});

void t.test('a visitor that forgets the sequence gets an error from poll(), and the message is not lost', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { slots: 4 });
  await outbox.send(new Uint8Array(8));
  let code: string | undefined;
  await until('the message is there', () => {
    code = thrownCode(() => inbox.poll((lane) => loose(lane).release!()));
    return code !== undefined;
  });
  t.equal(code, INVALID);
  t.equal(inbox.status().heldMessages, 1);
  await outbox.close();
  await inbox.close();
});

void t.test('a lane that has gone takes back what was delivered on it, and nothing else', async (t) => {
  const held: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => held.push(message) });
  const outbox = await openOutbox(inbox);
  for (let i = 0; i < 2; i++) await outbox.send(new Uint8Array(8));
  await until('both are there', () => held.length === 2);
  await outbox.close();
  await until('the lane is gone', () => inbox.laneCount === 0);
  const { lane } = held[0] as unknown as { lane: unknown };
  for (const name of ['release', 'acknowledge']) {
    t.equal(
      thrownCode(() => loose(lane)[name]!(3)),
      INVALID,
    );
  }
  for (const message of [...held, ...held]) message.done();
  t.equal(inbox.status().endedLanes, 0);
  await inbox.close();
});

void t.test('poll() wants a visitor, unless there is an onMessage', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  for (const wrong of [undefined, null, 7, 'visit', {}]) {
    t.equal(
      thrownCode(() => loose(inbox).poll!(wrong)),
      INVALID,
      String(wrong),
    );
  }
  for (const looks of [0, 1.5, '1', null]) {
    t.equal(
      thrownCode(() => loose(inbox).poll!(() => {}, looks)),
      INVALID,
      String(looks),
    );
  }
  await inbox.close();
  let count = 0;
  const other = await openInbox({
    wait: 'busy',
    onMessage: (message) => {
      count++;
      message.done();
    },
  });
  const outbox = await openOutbox(other);
  await outbox.send(new Uint8Array(8));
  await until('onMessage gets it', () => other.poll() >= 0 && count === 1);
  await outbox.close();
  await other.close();
});

void t.test('what an outbox, a reservation and a message cannot use', async (t) => {
  const held: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => held.push(message) });
  const outbox = await openOutbox(inbox);
  const other = await openOutbox(inbox);
  const foreign = await other.reserve(8);
  foreign.abort();
  const open = await outbox.reserve(8);
  const calls: [unknown, string, unknown[]][] = [
    ...[null, 5, 'x', []].map((options): [Outbox, string, unknown[]] => [outbox, 'send', [new Uint8Array(8), options]]),
    ...[null, 5, 'x'].map((options): [Outbox, string, unknown[]] => [outbox, 'reserve', [8, options]]),
    [outbox, 'send', [new Uint8Array(8), { timeoutMs: 0 }]],
    [outbox, 'send', [new Uint8Array(8), { signal: {} }]],
    [outbox, 'send', [undefined]],
    [outbox, 'send', ['text']],
    [outbox, 'reserve', [-1]],
    [outbox, 'reserve', ['8']],
    [outbox, 'tryReserve', [undefined]],
    [outbox, 'tryReserve', [8, {}]],
    [outbox, 'tryReserve', [8, null]],
    [outbox, 'tryReserve', [8, foreign]],
    [outbox, 'tryReserve', [8, open]],
    [outbox, 'whenAcknowledged', [1, null]],
    [outbox, 'whenAcknowledged', [99]],
    [outbox, 'whenAcknowledged', [0, { timeoutMs: -1 }]],
    [outbox, 'whenPublished', ['1']],
    [open, 'commit', [9]],
    [open, 'commit', [-1]],
    [open, 'commit', ['8']],
  ];
  const tried = async (on: unknown, name: string, args: unknown[]) => {
    let result: unknown;
    const code = thrownCode(() => {
      result = loose(on)[name]!(...args);
    });
    return code ?? (result instanceof Promise ? await codeOf(result) : undefined);
  };
  for (const [on, name, args] of calls) t.equal(await tried(on, name, args), INVALID, `${name}(${args.map(String)})`);
  t.equal(outbox.sequence, 1, 'nothing was taken');
  open.commit();
  await until('the reservation came', () => held.length === 1);
  const message = held[0]!;
  const pool = MemoryPool.open({ device: DEVICE });
  for (const [name, args] of [
    ['pull', [undefined, null]],
    ['pull', [new Uint8Array(1)]],
    ['pull', [undefined, { timeoutMs: 0 }]],
    ['read', [{}, new Uint8Array(1), null]],
    ['handOn', [{}, undefined]],
    ['handOn', [{}, {}]],
  ] as [string, unknown[]][]) {
    t.equal(await tried(message, name, args), INVALID, `${name}(${args.map(String)})`);
  }
  message.done();
  pool.close();
  await outbox.close();
  await other.close();
  await (inbox as Inbox).close();
});
