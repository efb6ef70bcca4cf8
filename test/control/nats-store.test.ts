// Proves that the store on NATS JetStream is a control store, and what it does when the server is away, full, or
// forbids.
import { type AddressInfo, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { natsControlStore, type ControlStore } from '../../src/ts/control/index.js';
import { codeOf } from '../pipeline/support.js';
import { haveThreadsStopped } from '../stopped.js';
import { conformance, Seen } from './conformance.js';
import { NatsServer, NO_NATS } from './nats-server.js';

/** Asks until the answer is the one that is waited for. */
async function answerOf(ask: () => Promise<string>, wanted: string): Promise<string> {
  let answer = '';
  for (let i = 0; i < 600 && answer !== wanted; i++) {
    answer = await ask();
    if (answer !== wanted) await sleep(25);
  }
  return answer;
}

void t.test('on NATS', { skip: NO_NATS ?? false, timeout: 0 }, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());
  let buckets = 0;
  const open = async (bucket: string): Promise<ControlStore> => {
    const store = await natsControlStore({ servers: server.url, bucket, timeoutMs: 5000 });
    t.teardown(() => store.close());
    return store;
  };

  conformance(t, async () => {
    const bucket = `b${++buckets}`;
    return [await open(bucket), await open(bucket)];
  });

  void t.test('a server that is killed comes back with what it had, and watchers see all again', async (t) => {
    const store = await natsControlStore({ servers: server.url, bucket: 'killed', timeoutMs: 300 });
    t.teardown(() => store.close());
    const revision = await store.put('a', 1);
    const seen = new Seen(store, '');
    await seen.until('synced');
    await server.kill();
    t.equal(await answerOf(() => codeOf(store.get('a')), 'RDMA_ERR_PEER_GONE'), 'RDMA_ERR_PEER_GONE');
    t.equal(await codeOf(store.put('a', 2)), 'RDMA_ERR_PEER_GONE', 'nothing is asked of one that is away');
    await server.run();
    await seen.until('synced', 2);
    // It may begin more than once before the server is of use.
    const words = seen.words.filter((word, i) => word !== 'restarted' || seen.words[i - 1] !== word);
    t.strictSame(words, ['a=1', 'synced', 'restarted', 'a=1', 'synced']);
    t.equal(await answerOf(() => codeOf(store.put('a', 3, { expected: revision })), 'ok'), 'ok');
    await seen.until('a=3');
  });

  void t.test('a server that hangs is a time-out; it may still have done what was asked', async (t) => {
    const store = await natsControlStore({ servers: server.url, bucket: 'hangs', timeoutMs: 300 });
    t.teardown(() => store.close());
    const first = await store.put('a', 1);
    server.signal('SIGSTOP');
    try {
      t.equal(await answerOf(async () => String(haveThreadsStopped(server.pid)), 'true'), 'true');
      t.equal(await codeOf(store.put('a', 2, { expected: first })), 'RDMA_ERR_TIMEOUT');
    } finally {
      server.signal('SIGCONT');
    }
    const read = async () => String((await store.get('a').catch(() => undefined))?.revision !== first);
    t.equal(await answerOf(read, 'true'), 'true', 'it was written afterwards');
  });

  void t.test(
    'a bucket that is deleted is an error, and a new one at once; watchers see that all is gone',
    async (t) => {
      const [one, two] = [await open('deleted'), await open('deleted')];
      const revision = await one.put('a', 1);
      const seen = new Seen(two, '');
      await seen.until('synced');
      const { connect } = require('@nats-io/transport-node') as typeof import('@nats-io/transport-node');
      const { jetstreamManager } = require('@nats-io/jetstream') as typeof import('@nats-io/jetstream');
      const client = await connect({ servers: server.url });
      await (await jetstreamManager(client)).streams.delete('KV_deleted');
      await client.close();
      t.match(await codeOf(one.put('a', 2, { expected: revision })), /^RDMA_ERR_(NOT_FOUND|CONFLICT)$/);
      await seen.until('-a');
      await seen.until('synced', 2);
      t.equal(await answerOf(() => codeOf(one.put('a', 3, { expected: 0 })), 'ok'), 'ok');
      await seen.until('a=3');
    },
  );

  void t.test('a store that is full says so, and takes more when there is room', async (t) => {
    const store = await natsControlStore({ servers: server.url, bucket: 'full', maxBytes: 100_000, timeoutMs: 5000 });
    t.teardown(() => store.close());
    const codes = new Set<string>();
    for (let i = 0; i < 20; i++) codes.add(await codeOf(store.put(`a.${i}`, new Uint8Array(10_000))));
    t.strictSame([...codes], ['ok', 'RDMA_ERR_STORE_FULL']);
    t.ok(await store.get('a.0'), 'what it had it keeps');
  });

  void t.test('a server that greets later than it may answer is waited for', async (t) => {
    let greeted = 0;
    const proxy = createServer((near) => {
      greeted++;
      const far = connect(server.port, '127.0.0.1');
      for (const end of [near, far]) end.on('error', () => {});
      near.pipe(far);
      setTimeout(() => far.pipe(near), 600);
      near.on('close', () => far.destroy());
      far.on('close', () => near.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    t.teardown(() => proxy.close());
    const { port } = proxy.address() as AddressInfo;
    const servers = `nats://127.0.0.1:${port}`;
    const store = await natsControlStore({ servers, bucket: 'late', timeoutMs: 300, connectTimeoutMs: 20_000 });
    t.teardown(() => store.close());
    t.ok((await store.put('a', 1)) > 0);
    t.equal(greeted, 1, 'by one connection');
  });

  void t.test('a silent address and a malformed one have different errors', async (t) => {
    const nobody = natsControlStore({ servers: 'nats://127.0.0.1:1', connectTimeoutMs: 200 });
    t.equal(await codeOf(nobody), 'RDMA_ERR_PEER_GONE');
    const cases = [
      { servers: [] },
      { servers: 3 },
      { bucket: 'a b' },
      { replicas: 0 },
      { timeoutMs: 1 },
      { connection: 3 },
    ];
    for (const options of cases as never[])
      t.equal(
        await codeOf(natsControlStore({ servers: server.url, ...(options as object) })),
        'RDMA_ERR_INVALID_ARGUMENT',
      );
  });
});

void t.test(
  'watches that begin while records are written see the end',
  { skip: NO_NATS ?? false, timeout: 0 },
  async (t) => {
    const server = await NatsServer.start();
    t.teardown(() => server.stop());
    const open = async () => {
      const store = await natsControlStore({ servers: server.url, timeoutMs: 60_000 });
      t.teardown(() => store.close());
      return store;
    };
    const [writer, store] = [await open(), await open()];
    const keys = ['a', 'b', 'c', 'd'];
    for (const key of keys) await writer.put(`r.${key}`, 0);
    let isOver = false;
    const writes = keys.map(async (key) => {
      for (let n = 1; !isOver; n++) await writer.put(`r.${key}`, n);
    });
    try {
      // nats-server 2.9.10 tells some of a hundred that nothing is pending, or for ever that something is.
      for (let round = 0; round < 20; round++) {
        const seen = Array.from({ length: 8 }, () => new Seen(store, 'r.'));
        for (const each of seen) await each.until('synced');
        for (const { words } of seen) {
          const first = words.slice(0, words.indexOf('synced'));
          const told = new Set(first.map((word) => word.split('=')[0]));
          if (told.size !== keys.length) t.fail(`${first.join()} is not all`);
        }
        for (const each of seen) each.controller.abort();
        await Promise.all(seen.map(({ over }) => over));
      }
    } finally {
      isOver = true;
      await Promise.all(writes);
    }
  },
);

void t.test('credentials that are wrong, or end', { skip: NO_NATS ?? false, timeout: 0 }, async (t) => {
  const users = (pass: string) => `authorization { user: "node", password: "${pass}" }`;
  const server = await NatsServer.start(users('first'));
  t.teardown(() => server.stop());
  const wrong = natsControlStore({ servers: server.url, connection: { user: 'node', pass: 'wrong' } });
  t.equal(await codeOf(wrong), 'RDMA_ERR_UNAUTHENTICATED');
  const connection = { user: 'node', pass: 'first' };
  const store = await natsControlStore({ servers: server.url, connection, timeoutMs: 300 });
  t.teardown(() => store.close());
  await store.put('a', 1);
  server.configure(users('second'));
  server.signal('SIGHUP');
  const ask = () => codeOf(store.get('a'));
  t.equal(await answerOf(ask, 'RDMA_ERR_UNAUTHENTICATED'), 'RDMA_ERR_UNAUTHENTICATED');
  server.configure(users('first'));
  server.signal('SIGHUP');
  t.equal(await answerOf(ask, 'ok'), 'ok', 'once they are valid again it goes on');
});

void t.test('a server without room for the bucket says so', { skip: NO_NATS ?? false, timeout: 0 }, async (t) => {
  const server = await NatsServer.start('', 'max_file_store: 1048576');
  t.teardown(() => server.stop());
  const store = natsControlStore({ servers: server.url, maxBytes: 2 ** 30, connectTimeoutMs: 3000 });
  t.equal(await codeOf(store), 'RDMA_ERR_STORE_FULL');
});
