// Proves that stores get one bucket between them, whoever makes it and when, and that a bucket which loses records is
// refused.
import { type AddressInfo, connect, createServer } from 'node:net';
import t from 'tap';
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
      const proxy = createServer((near) => {
        const far = connect(server.port, '127.0.0.1');
        for (const end of [near, far]) end.on('error', () => {});
        let turn = Promise.resolve();
        near.on('data', (bytes: Buffer) => {
          turn = turn.then(async () => {
            let text = bytes.toString('latin1');
            if (text.includes(`STREAM.CREATE.KV_${bucket} `)) {
              first ??= claim({ servers: server.url, bucket });
              await first;
              text = text.replaceAll(`KV_${bucket}`, creates);
            }
            far.write(text, 'latin1');
          });
        });
        far.on('data', (bytes: Buffer) => {
          for (const [, found] of bytes.toString('latin1').matchAll(/"err_code":(10058|10065)/g)) refused.add(found!);
          near.write(bytes);
        });
        near.on('close', () => far.destroy());
        far.on('close', () => near.destroy());
      });
      await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
      t.teardown(() => proxy.close());
      const { port } = proxy.address() as AddressInfo;
      const second = await claim({ servers: `nats://127.0.0.1:${port}`, bucket, maxBytes }).catch(String);
      t.strictSame([...refused], [code], 'the server refused the creation');
      t.equal(await first, 'ok');
      t.equal(second, 'RDMA_ERR_CONFLICT', 'it has the bucket of the other one');
    });
  }

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
