// Proves: what makes no sense is a usage error before anything is opened, and a device that is not there says so.
import t from 'tap';
import { onepiece, scratch } from '../../cli/command.js';

const cwd = scratch();
const bad: Record<string, string[]> = {
  'no such test': ['write-latency'],
  'a size of 0': ['write-lat', '-s', '0'],
  'a size in words': ['write-lat', '-s', 'big'],
  'sizes and all sizes': ['write-lat', '-a', '-s', '64'],
  'too few iterations': ['write-lat', '-n', '4'],
  'iterations and a duration': ['write-lat', '-n', '10', '-D', '1'],
  'an MTU between two': ['write-lat', '-m', '1500'],
  'events, where memory is polled': ['write-lat', '-e'],
  'a depth, where one request is under way': ['read-lat', '-t', '4'],
  'inline READs': ['read-bw', '-I', '64'],
  'a size of atomics': ['atomic-lat', '-s', '64'],
  'an atomic that is none': ['atomic-lat', '-A', 'ADD'],
  'a post list longer than the queue': ['write-bw', '-t', '4', '-l', '8'],
  'completions rarer than the queue is long': ['write-bw', '-t', '4', '-Q', '8'],
  'rounds without a comparison': ['write-lat', '--rounds', '2'],
  'a comparison with something else': ['write-lat', '--compare', 'iperf'],
  'a listening client': ['write-lat', '--listen', 'localhost'],
  'an option that nobody knows': ['write-lat', '--frob'],
};

void t.test('usage errors exit 2 and print nothing on stdout', async (t) => {
  for (const [name, args] of Object.entries(bad)) {
    const ended = await onepiece(['bench', ...args], cwd);
    t.equal(ended.code, 2, `${name}: ${ended.stderr}`);
    t.equal(ended.stdout, '', name);
    t.not(ended.stderr, '', name);
  }
});

void t.test('a device that is not there exits 3', async (t) => {
  const ended = await onepiece(['bench', 'write-lat', '-d', 'none0'], cwd);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /no device none0/);
});

void t.test('perftest cannot be compared with on soft0, and nobody listens at the other end', async (t) => {
  const compared = await onepiece(['bench', 'write-lat', '--compare', 'perftest'], cwd);
  t.equal(compared.code, 1);
  t.match(compared.stderr, /soft0/);
  const alone = await onepiece(['bench', 'write-lat', '-p', '1', '127.0.0.1'], cwd);
  t.equal(alone.code, 1);
  t.match(alone.stderr, /no benchmark server.*--listen/);
});
