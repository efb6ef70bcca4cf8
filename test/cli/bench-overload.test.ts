// Proves: the overload benchmark says what is wrong with what it is given, and leaves nobody behind, however it ends.
import { readdirSync } from 'node:fs';
import t from 'tap';
import { treeOf } from '../../src/ts/bench/kit/processes.js';
import { onepiece, runs, scratch, start, until } from './command.js';

const cwd = scratch();

void t.test('wrong flags are said, and exit with 2', async (t) => {
  const cases: [string[], RegExp][] = [
    [['--only', 'storm'], /load, retry, cancel, hung, tenants, batch/],
    [['--factor', '0'], /at most 100/],
    [['--factor', '1,x'], /such as 1.3,3,10/],
    [['--work', 'dream'], /sleep, compute/],
    [['--work', 'sleep,compute'], /--work: give one/],
    [['--work', 'compute', '--compare', 'pqueue'], /--compare: a peer is one process/],
    [['--service-ms', '400'], /deadline-ms: 3 stages of 400 ms/],
    [['--instances', '1'], /at least 2/],
    [['--compare', 'pigeon'], /pqueue, pqueue-tuned, bullmq, all/],
    [['--seed', '-1'], /from 0 to 4294967295/],
    [['--frobnicate'], /frobnicate/],
  ];
  for (const [args, says] of cases) {
    const ended = await onepiece(['bench', 'overload', ...args], cwd);
    t.equal(ended.code, 2, args.join(' '));
    t.match(ended.stderr, says, args.join(' '));
    t.equal(ended.stdout, '');
  }
});

void t.test('--help says its options, and a device that is not there ends with 3', async (t) => {
  const help = await onepiece(['bench', 'overload', '--help'], cwd);
  t.equal(help.code, 0);
  for (const option of ['--factor', '--only', '--work', '--deadline-ms', '--compare', '--json'])
    t.match(help.stdout, option);
  const ended = await onepiece(['bench', 'overload', '--device', 'nic9'], cwd);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /no device nic9/);
});

const SOURCE_AND_STAGES = 7;

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGKILL', null],
] as const) {
  void t.test(`${signal} ends the source and its stages`, async (t) => {
    // Its folder is here: SIGKILL leaves it nobody who could remove it.
    const { child, ended } = start(['bench', 'overload', '--seconds', '60'], cwd, { ...process.env, TMPDIR: cwd });
    const all = await until(
      'the source and its stages run',
      () => {
        const found = treeOf(child.pid!).filter((pid) => pid !== child.pid);
        return found.length >= SOURCE_AND_STAGES && found;
      },
      40_000,
    );
    child.kill(signal);
    t.equal((await ended).code, code);
    if (signal === 'SIGINT') t.strictSame(readdirSync(cwd), [], 'no folder is left');
    await until('nobody is left', () => !all.some(runs), 10_000);
  });
}
