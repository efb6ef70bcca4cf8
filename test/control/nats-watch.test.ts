// One watch of a bucket, when the server's answers are late: the server here is this test's own.
import t from 'tap';
import { Feed } from '../../src/ts/control/feed.js';
import type { NatsMessage } from '../../src/ts/control/nats-module.js';
import { NatsWatch, type WatchSource } from '../../src/ts/control/nats-watch.js';
import { within } from '../pipeline/support.js';

const SUBJECT = '$KV.b.k.1';

function messageOf(number: number): NatsMessage {
  const reply = `$JS.ACK.KV_b.c.1.${number}.${number}.0.0`;
  const message = { subject: SUBJECT, reply, data: new Uint8Array([number]), headers: undefined, respond: () => true };
  return message as unknown as NatsMessage;
}

// Sends a message every 20 ms to whoever listens, as a consumer does whose records are written all the time.
function serverOf(answers: readonly ('late' | 'good')[]): {
  source: WatchSource;
  asked: () => number;
  end: () => void;
} {
  let asked = 0;
  const timers = new Set<NodeJS.Timeout>();
  const subscribe = (_: string, { callback }: { callback: (error: null, message: NatsMessage) => void }) => {
    let number = 0;
    const timer = setInterval(() => callback(null, messageOf(++number)), 20);
    timers.add(timer);
    return { unsubscribe: () => clearInterval(timer) };
  };
  const consumers = {
    add: async () => {
      if (answers[asked++] === 'late') throw new Error('timeout');
      return { name: 'c' };
    },
    delete: async () => true,
  };
  const streams = { info: async () => ({ state: { subjects: { [SUBJECT]: 1 } } }) };
  const link = { isConnected: true, inbox: () => 'inbox', client: { subscribe, publish: () => {} } };
  const source = { link, bucket: 'b', manager: { consumers, streams }, restore: async () => false };
  const end = () => {
    for (const timer of timers) clearInterval(timer);
  };
  return { source: source as unknown as WatchSource, asked: () => asked, end };
}

void t.test('a consumer whose answer came too late is replaced, although it sends', async (t) => {
  const { source, asked, end } = serverOf(['late', 'late', 'good']);
  const abort = new AbortController();
  const feed: Feed = new Feed(abort.signal, () => watch.close());
  const watch = new NatsWatch(source, 'k.', feed);
  t.teardown(() => {
    abort.abort();
    end();
  });
  const synced = async () => {
    for await (const event of feed) if (event.type === 'synced') return;
  };
  await within('all present records', synced(), 10_000);
  t.equal(asked(), 3);
});
