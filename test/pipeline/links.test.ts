// Proves that the links of a place keep the order of each target, that a target without room or a message that takes
// long holds up nothing else, and that a link acknowledges a message only when its target has, or nobody asks for it.
import t from 'tap';
import { Custody } from '../../src/ts/pipeline/custody.js';
import { Attachment } from '../../src/ts/pipeline/attachment.js';
import { type PlaceAddress, systemPipelinePort } from '../../src/ts/pipeline/index.js';
import { inboxLimits, placeSecret, placeSizes } from '../../src/ts/pipeline/lane-sizes.js';
import { Links } from '../../src/ts/pipeline/links.js';
import { Inbox, type InboxMessage, Poller } from '../../src/ts/ring/index.js';
import { Device } from '../../src/ts/verbs/index.js';
import { addressOf, codeOf, DEVICE, gate, SECRET, until, within } from './support.js';

interface Teardown {
  teardown: (work: () => Promise<void>) => void;
}

// A device that ends with the test, the links of a place on it, and inboxes for their targets.
function open(t: Teardown, reconnectMs = 20_000) {
  const device = Device.open(DEVICE);
  const poller = new Poller({ pollUs: 0 });
  const attachment = new Attachment(systemPipelinePort, device);
  attachment.openPool(2 ** 30);
  const sizes = placeSizes(device);
  const routes = new Map<string, PlaceAddress | Promise<PlaceAddress>>();
  const failed: string[] = [];
  const links = new Links({
    name: 'a/0',
    port: systemPipelinePort,
    attachments: [attachment],
    address: () => addressOf({ host: '127.0.0.1', port: 1 }),
    poller,
    sizes,
    pieces: 0,
    stages: 1,
    onVia: () => {},
    flaw: undefined,
    secret: SECRET,
    reconnectMs,
    resolve: (target) => routes.get(target)!,
    onFailed: (target) => void failed.push(target),
  });
  const inboxes: Inbox[] = [];
  t.teardown(async () => {
    await links.close();
    for (const inbox of inboxes) await inbox.close();
    attachment.close();
    device.close();
  });
  const listen = async (target: string, onMessage: (message: InboxMessage) => void) => {
    const limits = inboxLimits(sizes);
    const secret = placeSecret(SECRET, target);
    const inbox = await Inbox.listen({ secret, device, poller, ...limits, onMessage });
    inboxes.push(inbox);
    routes.set(target, addressOf(inbox.bootstrap));
    return inbox;
  };
  return { links, failed, routes, listen, close: (inbox: Inbox) => inbox.close() };
}

/** Messages after which one that is not acknowledged is sent again. */
const RESIDENTS = 128;

function numbered(n: number): Uint8Array {
  const bytes = new Uint8Array(100);
  new DataView(bytes.buffer).setUint32(0, n, true);
  return bytes;
}
const numberOf = (message: InboxMessage) => new DataView(message.bytes.slice().buffer).getUint32(0, true);

// Sends one message to some targets; answers whether all of them have acknowledged it.
function send(links: Links, n: number, ...targets: string[]): { settled: boolean } {
  const state = { settled: false };
  const custody = new Custody([], () => {
    state.settled = true;
  });
  for (const target of targets) links.send(target, numbered(n), custody, n);
  custody.allSent();
  return state;
}

void t.test('a message that takes long is sent again, so it does not hold up those behind it', async (t) => {
  const { links, listen } = open(t);
  // As a place does: each message is taken out at once; the slow one is acknowledged late, and exchanged when it comes
  // again.
  let held: InboxMessage | undefined;
  let copies = 0;
  let isDone = false;
  const seen = new Set<number>();
  await listen('b/0', (message) => {
    const n = numberOf(message);
    message.release();
    seen.add(n);
    if (n !== 0 || isDone) {
      message.acknowledge();
      return;
    }
    copies++;
    held?.acknowledge();
    held = message;
  });
  await links.connect(['b/0']);
  const count = 10 * RESIDENTS;
  const sent: { settled: boolean }[] = [];
  for (let n = 0; n < count; n++) {
    sent.push(send(links, n, 'b/0'));
    if (n % 50 === 49) await until(`message ${n}`, () => seen.size === n + 1);
  }
  await until('the watermark to move', () => sent.filter(({ settled }) => settled).length >= count - RESIDENTS - 1);
  t.ok(copies >= 9 && copies <= 12, `${copies} copies of the slow message`);
  t.equal(sent[0]!.settled, false);
  t.equal(links.status()[0]!.backlog, 0, 'sending never waits for it');
  isDone = true; // a copy may be on its way
  held!.acknowledge();
  await until('everything', () => sent.every(({ settled }) => settled));
  t.equal(links.unacknowledged('b/0'), 0);
});

void t.test('many slow messages at a time do not fill what is retained', async (t) => {
  const { links, listen } = open(t);
  const held = new Map<number, InboxMessage>();
  let seen = 0;
  let isDone = false;
  const slow = 64;
  await listen('b/0', (message) => {
    const n = numberOf(message);
    message.release();
    if (n >= slow || isDone) {
      seen = Math.max(seen, n);
      message.acknowledge();
      return;
    }
    held.get(n)?.acknowledge();
    held.set(n, message);
  });
  await links.connect(['b/0']);
  const sent: { settled: boolean }[] = [];
  for (let n = 0; n < 3000; n++) {
    sent.push(send(links, n, 'b/0'));
    if (n % 50 === 49) await until(`message ${n}`, () => seen >= n || held.size > n);
  }
  t.equal(links.status()[0]!.backlog, 0);
  t.notOk(sent.slice(0, slow).some(({ settled }) => settled));
  isDone = true; // copies may be on their way, and more are sent until the acknowledgements are there
  for (const message of held.values()) message.acknowledge();
  await until('everything', () => sent.every(({ settled }) => settled));
});

void t.test('a target that takes nothing out holds up nobody else, and gets its messages in order later', async (t) => {
  const { links, listen } = open(t);
  const kept: InboxMessage[] = [];
  const seen = new Set<number>(); // in order; what comes again is a copy
  let isOpen = false;
  const finish = (message: InboxMessage) => {
    seen.add(numberOf(message));
    message.done();
  };
  await listen('slow/0', (message) => {
    if (isOpen) finish(message);
    else kept.push(message);
  });
  // As often as they come: one that many have overtaken before it is acknowledged comes twice.
  const quick = new Set<number>();
  await listen('quick/0', (message) => {
    quick.add(numberOf(message));
    message.done();
  });
  await links.connect(['slow/0', 'quick/0']);
  const count = 2000;
  const slow = Array.from({ length: count }, (_, n) => send(links, n, 'slow/0'));
  const other = Array.from({ length: 200 }, (_, n) => send(links, n, 'quick/0'));
  await until('the others', () => other.every(({ settled }) => settled));
  t.equal(quick.size, 200);
  t.ok(links.status().find(({ target }) => target === 'slow/0')!.backlog > 0, 'it waits here');
  t.notOk(slow.some(({ settled }) => settled));
  isOpen = true;
  for (const message of kept) finish(message);
  await until('the slow ones', () => slow.every(({ settled }) => settled));
  t.same(
    [...seen],
    Array.from({ length: count }, (_, n) => n),
  );
});

void t.test('an output is settled when all its receivers have acknowledged, not before', async (t) => {
  const { links, listen } = open(t);
  const kept: InboxMessage[] = [];
  await listen('b/0', (message) => message.done());
  await listen('b/1', (message) => void kept.push(message));
  await links.connect(['b/0', 'b/1']);
  const output = send(links, 1, 'b/0', 'b/1');
  await until('one acknowledgement', () => links.unacknowledged('b/0') === 0 && kept.length === 1);
  t.equal(output.settled, false);
  kept[0]!.done();
  await until('the other', () => output.settled);
});

void t.test('there is no way to a target that is not connected', async (t) => {
  const { links, listen } = open(t);
  await listen('b/0', (message) => message.done());
  t.notOk(links.has('b/0'));
  t.throws(() => links.send('b/0', numbered(1), undefined, 0), { code: 'RDMA_ERR_PEER_GONE', message: /b\/0/ });
  await Promise.all([links.connect(['b/0']), links.connect(['b/0'])]);
  t.same([links.has('b/0'), links.status().length], [true, 1]);
});

void t.test('a failed link acknowledges only what it has delivered, and tells its owner', async (t) => {
  const { links, failed, listen, close } = open(t, 1);
  const inbox = await listen('b/0', () => {});
  await links.connect(['b/0']);
  // More than the lane has room for: some are in it, some wait.
  const sent = Array.from({ length: 1500 }, (_, n) => send(links, n, 'b/0'));
  await close(inbox);
  await until('the failure', () => failed.length > 0);
  t.same(failed, ['b/0']);
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(sent.some(({ settled }) => settled));
});

void t.test('what was sent to a target that is given up is settled, and others stay', async (t) => {
  const { links, listen } = open(t);
  await listen('b/0', () => {});
  const kept: InboxMessage[] = [];
  await listen('b/1', (message) => void kept.push(message));
  await links.connect(['b/0', 'b/1']);
  const given = Array.from({ length: 1500 }, (_, n) => send(links, n, 'b/0'));
  const stays = send(links, 1, 'b/1');
  await within('the end', links.keepOnly(new Set(['b/1'])));
  await until('all of them', () => given.every(({ settled }) => settled));
  t.same([links.has('b/0'), links.has('b/1'), stays.settled], [false, true, false]);
});

void t.test('a target may take longer to start than it may be away later', async (t) => {
  const { links, failed, routes, listen } = open(t, 1);
  const starting = gate();
  routes.set(
    'b/0',
    starting.opened.then(() => routes.get('b/0')!),
  );
  const connecting = links.connect(['b/0']);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await listen('b/0', (message) => message.done());
  starting.open();
  await within('the connection', connecting);
  t.same([links.has('b/0'), failed], [true, []]);
});

void t.test('waiting for a target that does not start ends with giving it up, a later plan, or closing', async (t) => {
  const { links, routes } = open(t);
  for (const target of ['b/0', 'b/1', 'b/2']) routes.set(target, new Promise(() => {}));
  const codes = ['b/0', 'b/1', 'b/2'].map((target) => codeOf(links.connect([target])));
  await within('giving up', links.giveUp('b/0'));
  await within('a later plan', links.keepOnly(new Set(['b/2'])));
  t.same([await codes[0], await codes[1]], ['ok', 'ok'], 'nobody wants them any more');
  await within('the close', links.close());
  t.not(await codes[2], 'ok');
});

void t.test('closing settles everything, and ends what is being connected', async (t) => {
  const { links, listen } = open(t);
  await listen('b/0', () => {});
  await links.connect(['b/0']);
  const sent = Array.from({ length: 1500 }, (_, n) => send(links, n, 'b/0'));
  const connecting = codeOf(links.connect(['nowhere/0']));
  await within('the close', links.close());
  await until('all of them', () => sent.every(({ settled }) => settled));
  t.not(await connecting, 'ok');
  t.same(links.status(), []);
});
