// Proves: two processes that poll get a core each, and this one has all its cores back afterwards.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { bindApart, coresIn } from '../../../src/ts/bench/kit/affinity.js';

const coresOf = (pid: number | 'self') =>
  coresIn(/^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]!);

void t.test('a list of cores is read as the kernel writes it', async (t) => {
  t.strictSame(coresIn('0-3,8'), [0, 1, 2, 3, 8]);
  t.strictSame(coresIn('5'), [5]);
  t.strictSame(coresIn(''), []);
});

void t.test('each is bound to a core of its own, and let go', async (t) => {
  const before = coresOf('self');
  const other = spawn('sleep', ['60']);
  t.teardown(() => other.kill('SIGKILL'));
  const undo = bindApart(other.pid!);
  if (before.length > 1) {
    t.equal(coresOf('self').length, 1);
    t.equal(coresOf(other.pid!).length, 1);
    t.notSame(coresOf('self'), coresOf(other.pid!));
  } else {
    t.strictSame(coresOf('self'), before);
  }
  undo();
  t.strictSame(coresOf('self'), before);
});

void t.test('several share the cores that are left', { skip: coresOf('self').length < 2 }, async (t) => {
  const before = coresOf('self');
  const others = [spawn('sleep', ['60']), spawn('sleep', ['60'])];
  t.teardown(() => {
    for (const other of others) other.kill('SIGKILL');
  });
  const undo = bindApart(...others.map(({ pid }) => pid!));
  t.strictSame(coresOf('self'), before.slice(0, 1));
  for (const { pid } of others) t.strictSame(coresOf(pid!), before.slice(1));
  undo();
  t.strictSame(coresOf('self'), before);
});

void t.test('a process that is not there is an error that says so', { skip: coresOf('self').length < 2 }, async (t) => {
  const before = coresOf('self');
  t.throws(() => bindApart(2 ** 22 + 1), { code: 'RDMA_ERR_NOT_SUPPORTED', message: /cannot be bound/ });
  t.strictSame(coresOf('self'), before);
});
