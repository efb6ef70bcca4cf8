// Proves: the ring benchmarks say what is wrong with what they are given, and leave nobody behind, however they end.
import t from 'tap';
import { childrenOf, onepiece, scratch, start, until } from './command.js';

const cwd = scratch();

void t.test('wrong flags are named, and exit with 2', async (t) => {
  const cases: [string[], RegExp][] = [
    [['ring-lat', '--size', '0'], /size/],
    [['ring-lat', '--size', '2g'], /at most 1073741824 bytes/],
    [['ring-lat', '--producers', '2'], /unknown option '--producers'/],
    [['ring-fan-in', '--producers', '65'], /from 1 to 64/],
    [['ring-bw', '--duration', '0'], /from 1 to 600/],
    [['ring-rate', '--iterations', 'many'], /whole number/],
    [['ring-lat', '--compare', 'unix,pigeon'], /openmpi-shm.*zeromq/],
    [['ring-lat', '--in-place', '--pull'], /one of them/],
    [['ring-bw', '--pull'], /unknown option '--pull'/],
    [['rings', '--in-place'], /unknown option '--in-place'/],
  ];
  for (const [args, says] of cases) {
    const ended = await onepiece(['bench', ...args], cwd);
    t.equal(ended.code, 2, args.join(' '));
    t.match(ended.stderr, says, args.join(' '));
    t.equal(ended.stdout, '');
  }
});

void t.test('a report that cannot be written is an error before anything is measured', async (t) => {
  const ended = await onepiece(['bench', 'ring-lat', '--duration', '60', '--report', 'no/where.html'], cwd);
  t.equal(ended.code, 1);
  t.match(ended.stderr, /cannot write no\/where\.html/);
});

void t.test('Ctrl-C ends all processes', async (t) => {
  const { child, ended } = start(['bench', 'ring-fan-in', '--duration', '60', '--producers', '2'], cwd);
  const partners = await until(
    'a producer runs',
    () => {
      const found = childrenOf(child.pid!);
      return found.length > 0 && found;
    },
    20_000,
  );
  child.kill('SIGINT');
  t.equal((await ended).code, 130);
  for (const pid of partners) t.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});

void t.test('when the command is killed, its producers end too', async (t) => {
  const { child, ended } = start(['bench', 'ring-rate', '--duration', '60'], cwd);
  const [partner] = await until(
    'the producer runs',
    () => {
      const found = childrenOf(child.pid!);
      return found.length > 0 && found;
    },
    20_000,
  );
  child.kill('SIGKILL');
  await ended;
  await until(
    'the producer is gone',
    () => {
      try {
        process.kill(partner!, 0);
        return false;
      } catch {
        return true;
      }
    },
    5000,
  );
  t.pass('it is gone');
});
