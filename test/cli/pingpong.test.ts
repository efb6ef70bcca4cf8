// Proves: `onepiece pingpong` plays with itself, says one clear line for what is wrong, and never hangs on a peer.
import t from 'tap';
import { onepiece, type Running, scratch, start, until } from './command.js';

const folder = scratch();

async function server(...args: string[]): Promise<{ running: Running; port: string }> {
  const running = start(['pingpong', '-d', 'soft0', '-e', '-p', '0', ...args], folder);
  let said = '';
  running.child.stderr!.on('data', (text) => (said += text));
  const port = await until('the server listens', () => /client on port (\d+)/.exec(said)?.[1], 20_000);
  return { running, port };
}

for (const [args, code, says] of [
  [['--type', 'xrc'], 2, /rc, uc, ud, srq/],
  [['--odp'], 2, /not supported/],
  [['-s', '0'], 2, /whole number/],
  [['-m', '1000'], 2, /256, 512/],
  [['--type', 'ud', '-m', '1024'], 2, /mtuBytes is not an option/],
  [['-q', '4'], 2, /queuePairs is not an option/],
  [['--type', 'srq', '-r', '3'], 2, /receiveDepth/],
  [['-d', 'soft0', '-g', '9'], 2, /no GID of index 9/],
  [['-d', 'soft0', '-g', '-1'], 2, /no LID/],
  [['-d', 'nic9'], 3, /no device nic9/],
] as const) {
  void t.test(`${args.join(' ')} ends with ${code}`, async (t) => {
    const ended = await onepiece(['pingpong', ...args], folder);
    t.equal(ended.code, code, ended.stderr);
    t.match(ended.stderr, says);
    t.equal(ended.stdout, '');
  });
}

void t.test('two of ours exchange and validate', async (t) => {
  const { running, port } = await server('-c');
  const client = await onepiece(['pingpong', '127.0.0.1', '-d', 'soft0', '-e', '-c', '-p', port, '--json'], folder);
  t.equal(client.code, 0, client.stderr);
  t.match(JSON.parse(client.stdout), { schemaVersion: 1, role: 'client', iterations: 1000, invalidMessages: 0 });
  const ended = await running.ended;
  t.equal(ended.code, 0, ended.stderr);
  t.match(
    ended.stdout,
    /^ {2}local address: {2}LID 0x0000, .*\n {2}remote address: LID .*\n8192000 bytes in .*\n1000 iters/,
  );
});

void t.test('a client that does not fill its messages is found out', async (t) => {
  const { running, port } = await server('-c', '-n', '10');
  await onepiece(['pingpong', '127.0.0.1', '-d', 'soft0', '-e', '-n', '10', '-p', port], folder);
  const ended = await running.ended;
  t.equal(ended.code, 1);
  t.match(ended.stdout, /invalid data in page 0/);
});

void t.test('a peer that is killed ends the other one', async (t) => {
  const { running, port } = await server('-n', '100000000', '--timeout', '5');
  const client = start(['pingpong', '127.0.0.1', '-d', 'soft0', '-e', '-n', '100000000', '-p', port], folder);
  await until('the client has begun', () => client.child.pid !== undefined, 20_000);
  await new Promise<void>((resolve) => client.child.stdout!.on('data', (text) => /remote/.test(text) && resolve()));
  client.child.kill('SIGKILL');
  const ended = await running.ended;
  t.equal(ended.code, 1);
  t.match(ended.stderr, /RDMA_ERR_(TIMEOUT|COMPLETION)/);
});

void t.test('a second server on the port, and Ctrl-C for the first', async (t) => {
  const { running, port } = await server();
  const second = await onepiece(['pingpong', '-d', 'soft0', '-p', port], folder);
  t.equal(second.code, 1);
  t.match(second.stderr, /EADDRINUSE/);
  running.child.kill('SIGINT');
  t.equal((await running.ended).code, 130);
});
