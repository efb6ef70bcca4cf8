// Proves: Open MPI is measured with every operation over both transports, leaves nothing behind, and its absence is
// said.
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import t from 'tap';
import { OpenMpi } from '../../../bench/peers/mpi/open-mpi.js';
import type { PeerLatency } from '../../../bench/peers/peer.js';
import { lacking } from '../support.js';

const lack = lacking(OpenMpi.check);
const left = () =>
  [tmpdir(), '/dev/shm'].flatMap((path) => readdirSync(path).filter((name) => /onepiece-mpi|ompi/.test(name)));

void t.test('each operation over each transport gives as many samples as were asked for', { skip: lack }, async (t) => {
  const before = left();
  const peer = await OpenMpi.compile();
  t.teardown(() => peer.close());
  t.match(peer.name, /^Open MPI \d/);
  const runs = [
    { sizeBytes: 64, iterations: 200 },
    { sizeBytes: 65_536, iterations: 50 },
  ];
  const p50: Record<string, number> = {};
  for (const transport of ['shared-memory', 'tcp'] as const) {
    for (const operation of ['put', 'send', 'get'] as const) {
      const results = await peer.latency(operation, transport, runs);
      t.strictSame(
        results.map((r: PeerLatency) => r.samplesUs?.length),
        [200, 50],
      );
      for (const { samplesUs, latencyUs } of results) {
        t.ok(samplesUs![0]! > 0, `${operation} over ${transport}: ${samplesUs![0]}`);
        t.ok(latencyUs.p50 <= latencyUs.p99 && latencyUs.p99 <= latencyUs.p999);
      }
      p50[`${operation} ${transport}`] = results[0]!.latencyUs.p50;
    }
    for (const operation of ['put', 'send'] as const) {
      const [rate] = await peer.rate(operation, transport, [{ sizeBytes: 64, iterations: 20 }]);
      t.match(rate, { peer: peer.name, operation, transport, messages: 20 * 64 });
      t.ok(rate!.messagesPerSecond > 0);
    }
  }
  t.ok(p50['send tcp']! > p50['send shared-memory']!, `the transport is the one asked for: ${JSON.stringify(p50)}`);
  const [touched] = await peer.latency('send', 'shared-memory', [{ sizeBytes: 1 << 20, iterations: 20 }], {
    touch: true,
  });
  t.equal(touched?.touched, true);
  await peer.close();
  t.strictSame(left(), before, 'nothing is left in temporary folders');
});

void t.test('a run can be stopped', { skip: lack }, async (t) => {
  const peer = await OpenMpi.compile();
  t.teardown(() => peer.close());
  const signal = AbortSignal.timeout(300);
  const run = peer.latency('send', 'tcp', [{ sizeBytes: 64, iterations: 5_000_000 }], { signal });
  await t.rejects(run, { code: 'RDMA_ERR_ABORTED' });
});

void t.test('sizes that make no sense are refused', { skip: lack }, async (t) => {
  const peer = await OpenMpi.compile();
  t.teardown(() => peer.close());
  for (const runs of [[], [{ sizeBytes: 0, iterations: 1 }], [{ sizeBytes: 1, iterations: 0 }]]) {
    await t.rejects(peer.latency('put', 'tcp', runs), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  }
});

void t.test('where it is not installed the packages are named', (t) => {
  const path = process.env.PATH;
  t.teardown(() => {
    process.env.PATH = path;
  });
  process.env.PATH = '/nonexistent';
  t.throws(() => OpenMpi.check(), { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy: /apt-get install .*openmpi-bin/ });
  t.end();
});
