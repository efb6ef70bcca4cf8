// Proves: the pipeline benchmark says what is wrong with what it is given, and leaves nobody behind, however it ends.
import t from 'tap';
import { treeOf } from '../../src/ts/bench/kit/processes.js';
import { onepiece, scratch, start, until } from './command.js';

const cwd = scratch();

void t.test('wrong flags are said, and exit with 2', async (t) => {
  const cases: [string[], RegExp][] = [
    [['--shape', 'ring'], /chain, diamond, shard/],
    [['--size', '63'], /at least 64 bytes/],
    [['--size', '65m'], /at most 67108864 bytes/],
    [['--in-flight', '0'], /from 1 to 64/],
    [['--in-flight', '1,x'], /from 1 to 64/],
    [['--size', '64m', '--in-flight', '64'], /in flight are more than 1073741824 bytes/],
    [['--mode', 'copied'], /built, returned, reference/],
    [['--seconds', '0'], /from 1 to 600/],
    [['--rest-ms', '0'], /from 1 to 60000/],
    [['--idle-seconds', 'long'], /from 1 to 3600/],
    [['--start', '3,65'], /from 1 to 64/],
    [['--start', '3', '--in-flight', '2'], /--in-flight/],
    [['--compare', 'zeromq,pigeon'], /openmpi, mpi4py, zeromq, grpc, all/],
    [['--frobnicate'], /frobnicate/],
  ];
  for (const [args, says] of cases) {
    const ended = await onepiece(['bench', 'pipeline', ...args], cwd);
    t.equal(ended.code, 2, args.join(' '));
    t.match(ended.stderr, says, args.join(' '));
    t.equal(ended.stdout, '');
  }
});

void t.test('a device that is not there ends with 3', async (t) => {
  const ended = await onepiece(['bench', 'pipeline', '--device', 'nic9'], cwd);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /no device nic9/);
});

const forLong = ['bench', 'pipeline', '--mode', 'returned', '--size', '64', '--seconds', '60'];
const SOURCE_AND_STAGES = 4;

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGKILL', null],
] as const) {
  void t.test(`${signal} ends the source and its stages`, async (t) => {
    const { child, ended } = start(forLong, cwd);
    const all = await until(
      'the source and its stages run',
      () => {
        const found = treeOf(child.pid!).filter((pid) => pid !== child.pid);
        return found.length >= SOURCE_AND_STAGES && found;
      },
      20_000,
    );
    child.kill(signal);
    t.equal((await ended).code, code);
    const lives = (pid: number) => {
      try {
        process.kill(pid, 0);
        return true;
      } catch {
        return false;
      }
    };
    await until('nobody is left', () => !all.some(lives), 5000);
  });
}
