// Proves: peers are measured in the same command as the device, each with what it has of a measurement, and compared.
import t from 'tap';
import { devicePeersNamed } from '../../../bench/peers/device/compare.js';
import { onepiece, scratch } from '../../cli/command.js';
import { lacking } from '../support.js';

const cwd = scratch();

const skip = lacking(() => devicePeersNamed(['all']).map((peer) => peer.check()));

void t.test('each peer has its row and its ratio', { skip }, async (t) => {
  const only = ['--only', 'write-batch,write-copy,read', '--size', '1m', '--iterations', '200'];
  const ended = await onepiece(['bench', 'device', ...only, '--compare', 'all', '--json'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  const { results, comparisons } = JSON.parse(ended.stdout);
  const peers = results.filter((r: { peer: string | null }) => r.peer !== null && r.peer !== 'memcpy');
  t.strictSame(
    peers.map((r: { test: string; peer: string }) => `${r.test} ${r.peer.replace(/[\d.]+ /, '')}`),
    ['Open MPI', 'UCX'].flatMap((name) => [`write-batch ${name} put`, `write-copy ${name} put`, `read ${name} get`]),
  );
  t.equal(comparisons.length, peers.length + 1, 'and memcpy');
  for (const { ratio } of comparisons) t.ok(ratio > 0);
});
