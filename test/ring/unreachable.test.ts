// Proves which failures of connecting are tried again: what may change, and not what this process may never do.
import { spawn } from 'node:child_process';
import t from 'tap';
import { realTimers } from '../../src/ts/core/deadline.js';
import { RdmaError } from '../../src/ts/core/errors.js';
import { Reconnector, refusal } from '../../src/ts/ring/reconnector.js';
import { DEVICE, openInbox, SECRET } from './support.js';

/** Tries for 200 ms to connect, which always fails so; answers how often, and with what it has ended. */
async function attempts(error: RdmaError): Promise<{ count: number; code: string }> {
  let count = 0;
  let failed: RdmaError | undefined;
  const reconnector = new Reconnector({
    clock: { ...realTimers, soon: setImmediate },
    reconnectMs: 200,
    signal: new AbortController().signal,
    connect: async () => {
      count++;
      throw error;
    },
    isHearsay: () => false,
    settled: () => failed !== undefined,
    fail: (reason) => {
      failed = reason;
    },
  });
  await reconnector.start().catch(() => {});
  return { count, code: failed!.code };
}

void t.test('what a process may never do is tried once', async (t) => {
  for (const code of ['EACCES', 'EPERM', 'ENOSYS', 'EPROTONOSUPPORT'] as const) {
    const error = new RdmaError(code, 'words', { syscall: 'ibv_modify_qp' });
    t.same(await attempts(error), { count: 1, code });
  }
  for (const code of ['RDMA_ERR_REFUSED', 'RDMA_ERR_UNAUTHENTICATED'] as const) {
    t.same(await attempts(new RdmaError(code, 'words')), { count: 1, code });
  }
});

void t.test('what may change is tried again', async (t) => {
  for (const error of [
    new RdmaError('EMFILE', 'words', { syscall: 'ibv_modify_qp' }),
    new RdmaError('EHOSTUNREACH', 'words', { syscall: 'ibv_modify_qp' }),
    new RdmaError('EACCES', 'words', { syscall: 'connect' }),
    new RdmaError('ECONNREFUSED', 'words', { syscall: 'connect' }),
    refusal('EMFILE', 'words'),
  ]) {
    const { count, code } = await attempts(error);
    t.ok(count > 2, `${error.code}: ${count}`);
    t.equal(code, error.code);
  }
});

void t.test('a refusal says whether the inbox lacks something for a while', async (t) => {
  for (const code of ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']) t.equal(refusal(code, '').code, 'RDMA_ERR_BUSY', code);
  for (const code of ['EACCES', 'EPERM', 'EINVAL', 'anything']) t.equal(refusal(code, '').code, 'RDMA_ERR_REFUSED');
  t.equal(refusal('RDMA_ERR_VERSION', '').code, 'RDMA_ERR_VERSION');
});

const INDEX = require.resolve('../../src/ts/ring/index.js');
const PRODUCER = `
  const { Outbox } = require(process.argv[1]);
  const to = { host: '127.0.0.1', port: Number(process.argv[2]) };
  const begin = Date.now();
  Outbox.connect({ to, secret: process.argv[3], reconnectMs: 10000 }).then(() => 'connected', (error) => error.message)
    .then((words) => { console.log(JSON.stringify({ words, ms: Date.now() - begin })); process.exit(); });`;

const isRoot = process.getuid?.() === 0;
const skip = DEVICE !== 'soft0' ? 'only soft0 is so' : !isRoot && 'only root may become another user';

void t.test('another user, and another PID namespace, learn at once what soft0 joins', { skip }, async (t) => {
  const inbox = await openInbox({ onMessage: (message) => message.done() });
  t.teardown(() => inbox.close());
  for (const command of [
    ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'],
    ['unshare', '-p', '-f', '--mount-proc'],
  ]) {
    const args = [...command.slice(1), process.execPath, '-e', PRODUCER, INDEX, String(inbox.bootstrap.port), SECRET];
    const child = spawn(command[0]!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    await new Promise((resolve) => child.on('close', resolve));
    const { words, ms } = JSON.parse(output);
    t.match(words, /soft0 joins processes of one user in one PID namespace/, command[0]!);
    t.ok(ms < 3000, `after ${ms} ms`);
  }
});
