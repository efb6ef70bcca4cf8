// Proves: Open MPI and UCX stand beside the rings with what their programs can tell, and with nothing that they cannot.
import t from 'tap';
import { peersNamed } from '../../../bench/peers/ring/ring-peers.js';
import { onepiece, scratch } from '../../cli/command.js';
import { lacking } from '../support.js';

const cwd = scratch();
const lack = lacking(() => {
  for (const peer of peersNamed(['openmpi', 'ucx'])) peer.check();
});

async function results(...args: string[]) {
  const ended = await onepiece(['bench', ...args, '--compare', 'openmpi,ucx', '--json'], cwd);
  if (ended.code !== 0) throw new Error(ended.stderr);
  const { results, failures } = JSON.parse(ended.stdout);
  if (failures.length > 0) throw new Error(JSON.stringify(failures));
  return { of: (peer: string) => results.find((result: { peer: string }) => result.peer === peer), said: ended.stderr };
}

void t.test('latency: held by all, read by Open MPI', { skip: lack }, async (t) => {
  const { of } = await results('ring-lat', '--size', '4k', '--iterations', '100');
  for (const name of ['openmpi-shm', 'openmpi-tcp']) {
    for (const { min, p50, p99, max } of [of(name).latencyUs, of(name).touchedUs]) {
      t.ok(min > 0.05 && min <= p50 && p50 <= p99 && p99 <= max, name);
    }
  }
  t.ok(of('ucx').latencyUs.p50 > 0.05 && of('ucx').latencyUs.p50 <= of('ucx').latencyUs.p999);
  t.strictSame([of('ucx').latencyUs.max, of('ucx').touchedUs.p50], [null, null]);
});

void t.test('bandwidth: held by all, read by Open MPI', { skip: lack }, async (t) => {
  const { of } = await results('ring-bw', '--size', '64k', '--iterations', '256');
  for (const name of ['openmpi-shm', 'openmpi-tcp', 'ucx']) t.ok(of(name).gigabytesPerSecond > 0, name);
  t.ok(of('openmpi-shm').touchedGigabytesPerSecond > 0 && of('openmpi-tcp').touchedGigabytesPerSecond > 0);
  t.equal(of('ucx').touchedGigabytesPerSecond, null);
});

void t.test('a fan-in they have not, and that is said', { skip: lack }, async (t) => {
  const { of, said } = await results('ring-fan-in', '--producers', '2', '--iterations', '500');
  t.equal(of('openmpi-shm'), undefined);
  t.match(said, /without openmpi-shm in ring-fan-in: it has no such test here/);
});
