// Proves that the example of a cluster survives the loss of a node, leaves nothing behind, and says what it needs.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { NO_NATS } from '../control/nats-server.js';
import { runExample } from './run.js';

/** A folder for what the program makes: what is in it afterwards was left behind. */
const scratch = mkdtempSync(join(tmpdir(), 'onepiece-example-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

void t.test('a node is killed, and every request is answered', { skip: NO_NATS ?? false }, async (t) => {
  const { code, out, err } = await runExample('cluster/cluster.mjs', [], { env: { TMPDIR: scratch } });
  t.equal(code, 0, err);
  t.match(out, /^count\/\d is on node a$/m, 'the node that is killed has work');
  t.match(out, /^count\/\d is on node b$/m);
  const [before, after = ''] = out.split('killed node a\n');
  t.not(before, out, 'it was killed');
  const primes = [...after.matchAll(/^(\d+) primes below (\d+)$/gm)].map(([, count, below]) => [count, below]);
  t.strictSame(primes.length, 10);
  t.strictSame(primes[0], ['168', '1000']);
  t.strictSame(primes[9], ['1229', '10000']);
  t.strictSame(
    readdirSync(scratch).filter((name) => name.startsWith('onepiece-laptop-')),
    [],
  );
});

void t.test('without nats-server it says how to install it', async (t) => {
  const ended = await runExample('cluster/cluster.mjs', [], { env: { PATH: scratch, TMPDIR: scratch } });
  t.strictSame(ended, { code: 1, out: '', err: 'nats-server is not installed: apt-get install nats-server\n' });
  t.strictSame(readdirSync(scratch), []);
});
