// Proves that the store in Redis is a store of jobs, and what a server that is away means to it.
import t, { type Test } from 'tap';
import { encodeRequest, type JobStore, redisStore } from '../../src/ts/jobs/index.js';
import { codeOf, within } from '../pipeline/support.js';
import { conformance } from './conformance.js';
import { NO_REDIS, RedisServer } from './redis-server.js';
import { CountingRunner, numbered, numberOf, serve } from './support.js';

let prefixes = 0;
const usedPrefix = new WeakMap<JobStore, string>();

void t.test('redis', { skip: NO_REDIS ?? false }, async (t) => {
  const server = await RedisServer.start();
  t.teardown(() => server.stop());

  const open = async (
    t: Test,
    ...[options, port]: [Parameters<typeof redisStore>[1]?, Parameters<typeof redisStore>[2]?]
  ) => {
    const prefix = `test-${++prefixes}`;
    const store = await redisStore(server.url, { prefix, ...options }, port);
    usedPrefix.set(store, prefix);
    t.teardown(() => store.close());
    return store;
  };
  conformance(t, {
    open,
    again: (t, store, options) => open(t, { prefix: usedPrefix.get(store)!, ...options }),
  });

  void t.test('a server that is killed and restarted loses nothing, and a service goes on', async (t) => {
    const store = await open(t);
    const service = await serve(t, store, new CountingRunner(), { leaseMs: 1000 });
    const jobs = await Promise.all([1, 2, 3].map((value) => service.submit(numbered(value, 200_000))));
    await server.kill();
    const submitted = service.submit(numbered(4), { id: 'while-away' });
    const waiting = Promise.all(jobs.map((job) => job.result()));
    await server.run();
    t.same((await within('the results', waiting, 40_000)).map(numberOf), [1, 2, 3]);
    t.equal(numberOf(await within('a result', (await submitted).result(), 40_000)), 4);
    t.match(await service.job('while-away').record(), { state: 'done' });
  });

  void t.test('a server that stays away is an error that says so, and nothing hangs', async (t) => {
    const away = await RedisServer.start();
    const store = await redisStore(away.url);
    t.teardown(() => store.close());
    await away.stop();
    t.equal(await codeOf(store.get('a')), 'RDMA_ERR_PEER_GONE');
    t.equal(await codeOf(redisStore(away.url)), 'RDMA_ERR_PEER_GONE');
  });

  void t.test('a full server refuses new jobs and loses none; one that evicts is refused', async (t) => {
    const small = await RedisServer.start(['--maxmemory', '8mb']);
    t.teardown(() => small.stop());
    const store = await redisStore(small.url);
    t.teardown(() => store.close());
    const owner = store.ownerName();
    await store.beat(owner, 0);
    const request = encodeRequest(numbered(1, 250_000));
    const codes: string[] = [];
    for (let i = 0; i < 12; i++) {
      const job = { id: `${i}`, tenant: 'default', priority: 0, submittedAtMs: i, owner };
      codes.push(await codeOf(store.accept(job, request)));
    }
    const accepted = codes.filter((code) => code === 'ok').length;
    t.ok(accepted >= 2 && accepted < 12, `${accepted} accepted`);
    t.same(new Set(codes), new Set(['ok', 'RDMA_ERR_STORE_FULL']));
    t.equal((await store.list()).length, accepted);
    for (const entry of await store.list()) t.equal((await store.request(entry))?.length, request.bytes.length);
    const evicting = await RedisServer.start(['--maxmemory', '8mb', '--maxmemory-policy', 'allkeys-lru']);
    t.teardown(() => evicting.stop());
    t.equal(await codeOf(redisStore(evicting.url)), 'RDMA_ERR_NOT_SUPPORTED');
  });

  void t.test('a bad URL or a wrong password is named', async (t) => {
    for (const url of ['', 'http://127.0.0.1', '127.0.0.1:6379']) {
      t.equal(await codeOf(redisStore(url)), 'RDMA_ERR_INVALID_ARGUMENT', url);
    }
    const locked = await RedisServer.start(['--requirepass', 'secret-of-the-test']);
    t.teardown(() => locked.stop());
    const url = locked.url.replace('//', '//:wrong@');
    t.equal(await codeOf(redisStore(url)), 'RDMA_ERR_UNAUTHENTICATED');
  });
});
