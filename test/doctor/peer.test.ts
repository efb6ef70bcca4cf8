// Proves: the doctor joins two processes where that is possible, and says why not where it is not: under limits, where
// a system call is refused, and where processes do not see each other.
import { spawnSync } from 'node:child_process';
import { arch } from 'node:os';
import t from 'tap';
import { joinPeer } from '../../src/ts/doctor/peer.js';

const MODULE = require.resolve('../../src/ts/doctor/peer.js');
const PROGRAM = `require(${JSON.stringify(MODULE)}).joinPeer().then((problem) => console.log(JSON.stringify(problem)))`;

function join(command: string, args: readonly string[]): { problem: string | null; stderr: string } {
  const all = [...args, process.execPath, '-e', PROGRAM];
  const { stdout, stderr, error } = spawnSync(command, all, { encoding: 'utf8', timeout: 30_000 });
  if (error !== undefined) throw error;
  return { problem: stdout === '' ? 'it said nothing' : JSON.parse(stdout), stderr };
}

const runs = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

void t.test('here it works', async (t) => {
  t.equal(await joinPeer(), null);
});

void t.test('too few descriptors, of whoever lacks them', async (t) => {
  const seen = new Set<string>();
  for (let files = 24; files < 48; files += 2) {
    const { problem, stderr } = join('bash', ['-c', `ulimit -n ${files}; exec "$@"`, 'bash']);
    if (problem === null) break;
    t.match(problem, /EMFILE/, `${files}: ${problem} ${stderr}`);
    seen.add(problem.split(':')[0]!);
  }
  t.ok(seen.size >= 2, [...seen].join('; '));
});

// SECCOMP_SET_MODE_FILTER by prctl(2): one call answers EPERM.
const refusing = (call: number) => `
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, ${call}), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
program = b''.join(struct.pack('HBBI', *line) for line in code)
buffer = ctypes.create_string_buffer(program)
class F(ctypes.Structure): _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
f = F(len(code), ctypes.addressof(buffer)); c = ctypes.CDLL(None)
assert c.prctl(38, 1, 0, 0, 0) == 0 and c.prctl(22, 2, ctypes.byref(f), 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])`;

const noFilter =
  arch() !== 'x64' ? 'the numbers of calls are those of x64' : !runs('python3', '-c', '') && 'no python3';

void t.test('calls that a container may refuse', { skip: noFilter }, async (t) => {
  t.match(join('python3', ['-c', refusing(434)]).problem, /EPERM.*pidfd_open\(2\) is refused/);
  t.match(join('python3', ['-c', refusing(319)]).problem, /EPERM.*memfd_create\(2\) is refused/);
});

const noNamespace = !runs('unshare', '-p', '-f', 'true') && 'this user may not make PID namespaces';

void t.test('a PID namespace with the /proc of another one', { skip: noNamespace }, async (t) => {
  t.match(join('unshare', ['-p', '-f']).problem, /soft0 joins processes of one user in one PID namespace/);
  t.equal(join('unshare', ['-p', '-f', '--mount-proc']).problem, null);
});
