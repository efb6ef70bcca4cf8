// Proves which options of Node.js a worker takes over from the process that starts it.
import t from 'tap';
import { workerExecArgv } from '../../src/ts/cluster/worker-options.js';

const cases: [string, string[], string[]][] = [
  ['none', [], []],
  [
    'loaders and limits',
    ['--import', './hooks.mjs', '-r', 'x', '--max-old-space-size=512'],
    ['--import', './hooks.mjs', '-r', 'x', '--max-old-space-size=512'],
  ],
  ['a debugger', ['--inspect', '--enable-source-maps'], ['--enable-source-maps']],
  ['a debugger that waits', ['--inspect-brk=127.0.0.1:9229'], []],
  ['its port, by =', ['--inspect-port=0', '--no-warnings'], ['--no-warnings']],
  ['its port, by itself', ['--inspect-port', '9230', '--no-warnings'], ['--no-warnings']],
  ['a program', ['-e', 'process.exit()', '--no-warnings'], ['--no-warnings']],
  ['a program that is printed', ['--input-type=module', '-p', '1'], []],
  ['a program by =', ['--eval=1', '--conditions=dev'], ['--conditions=dev']],
  ['a prompt', ['-i'], []],
];

for (const [name, given, kept] of cases) {
  void t.test(name, async (t) => {
    const before = [...given];
    t.same(workerExecArgv(given), kept);
    t.same(given, before, 'what is given stays as it is');
  });
}
