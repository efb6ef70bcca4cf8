// Proves that stores get one bucket between them, whoever makes it and when, and that a bucket which loses records is
// refused.
import { type AddressInfo, connect, createServer } from 'node:net';
import t, { type Test } from 'tap';
import { natsControlStore, type NatsControlStoreOptions } from '../../src/ts/control/index.js';
import { codeOf } from '../pipeline/support.js';
import { NatsServer, NO_NATS } from './nats-server.js';

/** Writes a record that must not be there; answers `ok`, or the code of what went wrong. */
async function claim(options: NatsControlStoreOptions): Promise<string> {
  const store = await natsControlStore({ timeoutMs: 30_000, connectTimeoutMs: 30_000, ...options });
  try {
    return await codeOf(store.put('a', process.pid, { expected: 0 }));
  } finally {
    await store.close();
  }
}

/** What passes a proxy, as text: `up` to the server, which it may change. */
interface Passing {
  readonly up: (text: string) => string | Promise<string>;
  readonly down?: (text: string) => void;
}

/** @returns where stores reach the server through the proxy */
async function proxyTo(t: Test, server: NatsServer, { up, down }: Passing): Promise<string> {
  const proxy = createServer((near) => {
    const far = connect(server.port, '127.0.0.1');
    for (const end of [near, far]) end.on('error', () => {});
    let turn = Promise.resolve();
    near.on('data', (bytes: Buffer) => {
      turn = turn.then(async () => {
        far.write(await up(bytes.toString('latin1')), 'latin1');
      });
    });
    far.on('data', (bytes: Buffer) => {
      down?.(bytes.toString('latin1'));
      near.write(bytes);
    });
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.teardown(() => proxy.close());
  return `nats://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

void t.test('buckets', { skip: NO_NATS ?? false, timeout: 0 }, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());

  const plans: Record<string, (store: number) => number | undefined> = {
    equal: () => undefined,
    different: (store) => 100_000 * (1 + store),
  };
  for (const [limits, maxBytes] of Object.entries(plans)) {
    void t.test(`stores with ${limits} limits that open a bucket at once all get it`, { timeout: 0 }, async (t) => {
      const buckets = Array.from({ length: 40 }, (_, n) => `${limits}${n}`);
      const claims = buckets.flatMap((bucket) =>
        [0, 1, 2, 3].map((store) => claim({ servers: server.url, bucket, maxBytes: maxBytes(store) }).catch(String)),
      );
      const answers = await Promise.all(claims);
      t.strictSame([...new Set(answers)].sort(), ['RDMA_ERR_CONFLICT', 'ok'], 'all are open');
      for (const [n, bucket] of buckets.entries()) {
        const ok = answers.slice(4 * n, 4 * n + 4).filter((answer) => answer === 'ok');
        if (ok.length !== 1) t.fail(`${ok.length} of 4 were the first to write to ${bucket}`);
      }
    });
  }

  // The proxy holds a creation until another store has made the bucket. The server refuses it for its name when the
  // limits differ. When they do not, only a server whose lock is open just then refuses it, for its subjects; each one
  // does so under another name.
  const refusals = [
    { why: 'name', code: '10058', bucket: 'second', maxBytes: 100_000, creates: 'KV_second' },
    { why: 'subjects', code: '10065', bucket: 'third', maxBytes: undefined, creates: 'KV_other' },
  ];
  for (const { why, code, bucket, maxBytes, creates } of refusals) {
    void t.test(`another one makes the bucket first, and the server refuses its ${why}`, async (t) => {
      const refused = new Set<string>();
      let first: Promise<string> | undefined;
      const url = await proxyTo(t, server, {
        up: async (text) => {
          if (!text.includes(`STREAM.CREATE.KV_${bucket} `)) return text;
          first ??= claim({ servers: server.url, bucket });
          await first;
          return text.replaceAll(`KV_${bucket}`, creates);
        },
        down: (text) => {
          for (const [, found] of text.matchAll(/"err_code":(10058|10065)/g)) refused.add(found!);
        },
      });
      const second = await claim({ servers: url, bucket, maxBytes }).catch(String);
      t.strictSame([...refused], [code], 'the server refused the creation');
      t.equal(await first, 'ok');
      t.equal(second, 'RDMA_ERR_CONFLICT', 'it has the bucket of the other one');
    });
  }

  // Nobody hears the first writes under another subject, as if the server did not serve the bucket yet.
  void t.test('a store waits until the server takes writes to a bucket that it shows', async (t) => {
    t.equal(await claim({ servers: server.url, bucket: 'fourth' }), 'ok');
    let unheard = 0;
    const url = await proxyTo(t, server, {
      up: (text) => {
        if (unheard === 3 || !text.includes('$KV.fourth.')) return text;
        unheard++;
        return text.replaceAll('$KV.fourth.', '$XX.fourth.');
      },
    });
    t.equal(await claim({ servers: url, bucket: 'fourth' }), 'RDMA_ERR_CONFLICT', 'it has the record of the other one');
    t.equal(unheard, 3);
  });

  void t.test('what is no bucket for a control store is refused', async (t) => {
    const { connect } = require('@nats-io/transport-node') as typeof import('@nats-io/transport-node');
    const { jetstreamManager } = require('@nats-io/jetstream') as typeof import('@nats-io/jetstream');
    const client = await connect({ servers: server.url });
    t.teardown(() => client.close());
    const { streams } = await jetstreamManager(client);
    const dayNs = 86_400 * 1e9;
    await streams.add({ name: 'KV_old', subjects: ['$KV.old.>'], max_age: dayNs, max_msgs_per_subject: 1 });
    await streams.add({ name: 'KV_else', subjects: ['else.>'] });
    await streams.add({ name: 'wide', subjects: ['$KV.wide.>'] });
    const refusal = (bucket: string) => codeOf(claim({ servers: server.url, bucket }));
    t.equal(await refusal('old'), 'RDMA_ERR_NOT_SUPPORTED', 'one that drops records');
    t.equal(await refusal('else'), 'RDMA_ERR_NOT_SUPPORTED', 'one with other subjects');
    t.equal(await refusal('wide'), 'RDMA_ERR_PROTOCOL', 'none, as another stream has its subjects');
  });
});
