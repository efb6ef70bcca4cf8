// Proves that `onepiece rping` and rping of rdma-core play with each other, in both roles, and validate.
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { rpingClient, type RpingResult, rpingServer } from '../../src/ts/interop/rping/index.js';
import { ended } from '../verbs/support.js';
import { deviceAddress, deviceName, failure, isSoft, patienceMs, refusedOnSoft } from '../rdmacm/support.js';

const MAIN = path.join(__dirname, '../../src/ts/cli/main.js');
const COUNT = 1000;

interface Program {
  child: ChildProcess;
  /** Settles when it has printed what is looked for. */
  says(pattern: RegExp): Promise<void>;
}

/** Starts a program that does not outlive this one. */
function start(command: string, args: readonly string[]): Program {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.removeListener('exit', kill));
  let text = '';
  const says = (pattern: RegExp) =>
    new Promise<void>((resolve, reject) => {
      const look = (more: string) => {
        text += more;
        if (pattern.test(text)) resolve();
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      child.once('exit', () => reject(new Error(`it ended and said: ${text}`)));
    });
  return { child, says };
}

const onepiece = (...args: string[]) => start(process.execPath, [MAIN, 'rping', ...args]);
// Its debug lines come at once, which a pipe would delay.
const rping = (...args: string[]) => start('stdbuf', ['-oL', 'rping', ...args]);

if (isSoft) {
  void t.test('wrong usage exits with 2', async (t) => {
    for (const args of [
      [],
      ['-s', '-c'],
      ['-c'],
      ['-s', '-p', '0'],
      ['-c', '-a', 'x', '-S', '63'],
      ['-c', '-a', 'x', '-P'],
      ['-s', '-I', 'x'],
    ]) {
      t.equal((await ended(onepiece(...args).child)).how, '2', args.join(' '));
    }
  });
  void t.test('soft0 is refused, with a remedy', refusedOnSoft);
  void t.test('rping says what is missing, or that nothing listens', async (t) => {
    const { how, output } = await ended(onepiece('-c', '-a', '127.0.0.1', '-p', '9').child, 20_000);
    t.match(how, /^[13]$/);
    t.match(output, /^onepiece: (RDMA_ERR_NO_DEVICE|RDMA_ERR_NOT_SUPPORTED|RDMA_ERR_REJECTED|ETIMEDOUT)/);
  });
} else void interop();

async function interop(): Promise<void> {
  const host = deviceAddress();
  const long = patienceMs * 3;

  await t.test(`our client and the C server: ${COUNT} pings, validated`, async (t) => {
    const server = rping('-s', '-V', '-d', '-S', '100', '-a', host);
    const listens = server.says(/rdma_listen/);
    const serverEnds = ended(server.child, long);
    await listens;
    const client = await ended(onepiece('-c', '-a', host, '-C', `${COUNT}`, '-S', '100', '-V', '--json').child, long);
    t.equal(client.how, '0', 'the exit code', { output: client.output });
    const { schemaVersion, rping: result } = JSON.parse(client.output) as { schemaVersion: number; rping: RpingResult };
    t.equal(schemaVersion, 1);
    t.match(result, { role: 'client', device: deviceName, pings: COUNT, sizeBytes: 100, validated: true });
    t.equal((await serverEnds).how, '0');
  });

  await t.test(`the C client and our server: ${COUNT} pings, validated on both sides`, async (t) => {
    const server = onepiece('-s', '-V', '-a', host, '--json');
    const listens = server.says(/listening/);
    const serverEnds = ended(server.child, long);
    await listens;
    const client = await ended(rping('-c', '-a', host, '-C', `${COUNT}`, '-S', '4096', '-V').child, long);
    t.equal(client.how, '0', 'the exit code', { output: client.output });
    const { how, output } = await serverEnds;
    t.equal(how, '0', 'the exit code', { output });
    const result = (JSON.parse(output.slice(output.indexOf('{'))) as { rping: RpingResult }).rping;
    t.match(result, { role: 'server', device: deviceName, pings: COUNT, sizeBytes: 4096, validated: true });
  });

  await t.test(
    'the C client with a queue pair of its own, every ping printed, against a persistent server',
    async (t) => {
      const server = onepiece('-s', '-V', '-P', '-v', '-a', host);
      const listens = server.says(/listening/);
      const serverEnds = ended(server.child, long);
      await listens;
      const clients = [rping('-c', '-q', '-a', host, '-C', '5', '-V', '-v'), rping('-c', '-a', host, '-C', '7', '-V')];
      const [first, second] = await Promise.all(clients.map(({ child }) => ended(child, long)));
      t.equal(first?.how, '0');
      t.equal(second?.how, '0');
      t.match(first?.output, /ping data: rdma-ping-4: EFGH/);
      server.child.kill('SIGINT');
      const { how, output } = await serverEnds;
      t.equal(how, '130', 'the exit code of an interrupted program');
      t.match(output, /server ping data: rdma-ping-6: GHIJ/);
      t.match(output, /5 pings of 64 bytes, all validated/);
      t.match(output, /7 pings of 64 bytes, all validated/);
    },
  );

  await t.test('an interrupted client leaves, and the C server ends well', async (t) => {
    const server = rping('-s', '-d', '-a', host);
    const listens = server.says(/rdma_listen/);
    const serverEnds = ended(server.child, long);
    await listens;
    const client = onepiece('-c', '-a', host, '-d');
    const plays = client.says(/ping 10: /);
    const clientEnds = ended(client.child, long);
    await plays;
    client.child.kill('SIGINT');
    t.equal((await clientEnds).how, '130');
    t.match((await serverEnds).output, /DISCONNECT/);
  });

  await t.test('both of ours: 64 KiB pings; a client that is not rping is refused', async (t) => {
    let port = 0;
    let listening: (port: number) => void = () => undefined;
    const listens = new Promise<number>((resolve) => {
      listening = resolve;
    });
    const serves = rpingServer({
      host,
      port: 7175,
      validate: true,
      onListening: (where) => listening(Number(where.split(':')[1])),
    });
    port = await listens;
    const result = await rpingClient({ host, port, count: 5, size: 65536, validate: true });
    t.match(result, { pings: 5, validated: true, sizeBytes: 65536 });
    t.match(await serves, { pings: 5, validated: true, sizeBytes: 65536 });
    t.match(await failure(rpingClient({ host, port, count: 1 })), { code: 'RDMA_ERR_REJECTED', reason: 8 });
  });
}
