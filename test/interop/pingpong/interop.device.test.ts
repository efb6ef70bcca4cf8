// Proves: on rxe0, both roles of every type play 1000 validated messages with the programs of rdma-core, polling and
// asleep; and two of ours play every type that the device has.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { pingPong } from '../../../src/ts/interop/pingpong/pingpong.js';
import { pingPongTypes } from '../../../src/ts/interop/pingpong/settings.js';
import { Device, QpType } from '../../../src/ts/verbs/index.js';

const device = process.env.ONEPIECE_DEVICE ?? 'soft0';
const isSoft = device === 'soft0';
const MAIN = join(__dirname, '../../../src/ts/cli/main.js');
const LIMIT_MS = 60_000;
let port = 19_000 + (process.pid % 1000) * 20;

function run(command: string, args: readonly string[]) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (out += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  return new Promise<{ code: number | null; out: string }>((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, out });
    });
  });
}

async function listening(wanted: number): Promise<void> {
  for (const end = performance.now() + LIMIT_MS; performance.now() < end; await sleep(5)) {
    for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
      for (const line of readFileSync(file, 'utf8').split('\n')) {
        const [, local, , state] = line.trim().split(/\s+/);
        if (state === '0A' && Number.parseInt(local!.split(':')[1]!, 16) === wanted) return;
      }
    }
  }
  throw new Error(`nobody listens on port ${wanted}`);
}

for (const type of pingPongTypes) {
  for (const events of [false, true]) {
    const title = `${type}, ${events ? 'asleep' : 'polling'}`;
    const options = () => ({ type, device, events, check: true, port, iterations: 1000, timeoutMs: 30_000 });
    const c = (...more: string[]) =>
      run(`ibv_${type}_pingpong`, ['-d', device, '-g', '1', '-c', '-p', `${port}`, ...(events ? ['-e'] : []), ...more]);
    void t.test(`${title}: our client and the C server`, { skip: isSoft && 'soft0 is ours alone' }, async (t) => {
      port++;
      const peer = c();
      await listening(port);
      const result = await pingPong({ ...options(), host: '127.0.0.1' });
      t.match(result, { iterations: 1000, invalidMessages: 0 });
      const { code, out } = await peer;
      t.equal(code, 0, out);
      t.match(out, /1000 iters in/);
      t.notMatch(out, /invalid/);
    });
    void t.test(`${title}: our server and the C client`, { skip: isSoft && 'soft0 is ours alone' }, async (t) => {
      port++;
      let peer: ReturnType<typeof run> | undefined;
      const onListening = () => {
        peer = c('127.0.0.1');
      };
      t.match(await pingPong(options(), { onListening }), { iterations: 1000, invalidMessages: 0 });
      const { code, out } = await peer!;
      t.equal(code, 0, out);
    });
  }
  void t.test(`${type}: two of ours`, async (t) => {
    const options = { type, device, events: true, check: true, port: 0, iterations: 300, timeoutMs: 30_000 };
    const probe = Device.open(device);
    let missing = false;
    try {
      const pd = probe.allocateProtectionDomain();
      if (type === 'srq') pd.createSharedReceiveQueue();
      else pd.createQueuePair({ type: QpType[type.toUpperCase() as 'RC'], sendCq: probe.createCompletionQueue(1) });
    } catch (error) {
      missing = (error as { code?: string }).code === 'ENOTSUP';
      if (!missing) throw error;
    } finally {
      probe.close();
    }
    if (missing) {
      await t.rejects(pingPong(options), { code: 'ENOTSUP' });
      return;
    }
    let client: ReturnType<typeof pingPong> | undefined;
    const onListening = (there: number) => {
      client = pingPong({ ...options, port: there, host: '127.0.0.1' });
    };
    t.match(await pingPong(options, { onListening }), { role: 'server', invalidMessages: 0 });
    t.match(await client, { role: 'client', invalidMessages: 0 });
  });
}

void t.test('the command plays both roles', { skip: isSoft && 'soft0 is ours alone' }, async (t) => {
  const args = (at: number) => ['-d', device, '-c', '-p', `${at}`];
  const ours = [process.execPath, MAIN, 'pingpong'] as const;
  port++;
  const server = run('ibv_rc_pingpong', [...args(port), '-g', '1']);
  await listening(port);
  const client = await run(ours[0], [...ours.slice(1), '127.0.0.1', ...args(port)]);
  t.match(client.out, /8192000 bytes in .*\n1000 iters in/);
  t.equal(client.code, 0, client.out);
  t.equal((await server).code, 0);
  port++;
  const mine = run(ours[0], [...ours.slice(1), ...args(port)]);
  await listening(port);
  t.equal((await run('ibv_rc_pingpong', [...args(port), '-g', '1', '127.0.0.1'])).code, 0);
  t.equal((await mine).code, 0, (await mine).out);
});
