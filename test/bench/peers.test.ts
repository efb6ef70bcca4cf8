// Proves: the peers of this checkout are found, each list answers to its names, and naming a peer loads none of its
// packages.
import t from 'tap';
import { findPeers, noPeers } from '../../src/ts/bench/peers.js';

const packages = ['@grpc/grpc-js', 'zeromq', 'bullmq', 'p-queue', 'redis', '@nats-io'];

void t.test('they are found, and nothing of them is loaded', async (t) => {
  const peers = findPeers()!;
  for (const list of [peers.rings, peers.pipelines, peers.overload, peers.devices]) {
    const all = list.named(['all']).map((peer) => (peer as { name: string }).name);
    t.ok(all.length > 1 && all.every((name) => list.names.includes(name)), all.join());
    t.strictSame(list.named([all[1]!, all[0]!, all[1]!]).length, 2, 'each once');
    t.throws(() => list.named(['pigeon']), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /no peer is called pigeon/ });
  }
  const loaded = Object.keys(require.cache).filter((file) => packages.some((name) => file.includes(`/${name}/`)));
  t.strictSame(loaded, []);
});

void t.test('where they are not built, the remedy is the build', async (t) => {
  t.match(noPeers('--compare unix'), { code: 'RDMA_ERR_NOT_SUPPORTED', remedy: 'npm run build:ts' });
});
