// Checks of limits: locked memory, open files, huge pages, the cgroup's share of RDMA objects.
//
// Invariant: pure functions of the recorded machine; each limit is said with its value.
import { type Finding, note, ok, warning } from './finding.js';
import { kernelDevices } from './kernel-checks.js';
import { limitOf, type System } from './system.js';

/** The default of most systems is 8 MiB, which a few regions use up; each queue and ring counts too. */
const MIN_MEMLOCK_BYTES = 64 * 2 ** 20;
const MIN_OPEN_FILES = 1024;
const CAP_IPC_LOCK = 14n;

export function limitChecks(system: System): Finding[] {
  return [memlock(system), openFiles(system), hugePages(system), ...cgroup(system)];
}

function memlock(system: System): Finding {
  const limit = limitOf(system, 'Max locked memory');
  if (limit === undefined) return note('memlock', 'RLIMIT_MEMLOCK cannot be read from /proc/self/limits');
  if (limit.soft === Number.POSITIVE_INFINITY) return ok('memlock', 'RLIMIT_MEMLOCK is unlimited');
  const seen = `RLIMIT_MEMLOCK is ${limit.soft} bytes (at most ${amount(limit.hard)})`;
  if (mayLockAll(system)) return ok('memlock', `${seen}, which does not bind this process: it has CAP_IPC_LOCK`);
  if (limit.soft >= MIN_MEMLOCK_BYTES) return ok('memlock', seen);
  const remedy =
    'ulimit -l unlimited (in /etc/security/limits.d for logins), LimitMEMLOCK=infinity for systemd, --ulimit memlock=-1 for docker';
  const words = `${seen}: registering more memory on a verbs device fails with ENOMEM`;
  return kernelDevices(system).length > 0 ? warning('memlock', words, remedy) : note('memlock', words, remedy);
}

// The kernel asks for the capability in the first user namespace; there the map is the identity.
function mayLockAll(system: System): boolean {
  const set = /^CapEff:\s*([0-9a-f]{1,16})$/m.exec(system.readFile('/proc/self/status') ?? '')?.[1] ?? '0';
  const first = /^\s*0\s+0\s+4294967295\s*$/.test(system.readFile('/proc/self/uid_map') ?? '');
  return first && ((BigInt(`0x${set}`) >> CAP_IPC_LOCK) & 1n) === 1n;
}

function openFiles(system: System): Finding {
  const limit = limitOf(system, 'Max open files');
  if (limit === undefined) return note('nofile', 'RLIMIT_NOFILE cannot be read from /proc/self/limits');
  const seen = `RLIMIT_NOFILE is ${amount(limit.soft)} (at most ${amount(limit.hard)})`;
  if (limit.soft >= MIN_OPEN_FILES) return ok('nofile', seen);
  return warning('nofile', `${seen}: every region of soft0 and every channel takes a descriptor`, 'ulimit -n 4096');
}

function hugePages(system: System): Finding {
  const text = system.readFile('/proc/meminfo') ?? '';
  const value = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  const total = value('HugePages_Total');
  if (total === 0) {
    return note(
      'hugepages',
      'no huge pages are reserved: memory with hugePageBytes cannot be registered',
      'only if you want them: sysctl vm.nr_hugepages=512',
    );
  }
  return note(
    'hugepages',
    `${value('HugePages_Free')} of ${total} huge pages of ${value('Hugepagesize')} KiB are free`,
  );
}

function cgroup(system: System): Finding[] {
  const own = /^0::(\/.*)$/m.exec(system.readFile('/proc/self/cgroup') ?? '')?.[1]?.replace(/\/$/, '') ?? '';
  const files = new Set(['/sys/fs/cgroup/rdma.max', `/sys/fs/cgroup${own}/rdma.max`]);
  return [...files].flatMap((file) => {
    const limits = (system.readFile(file) ?? '').split('\n').filter((line) => /=\d/.test(line));
    if (limits.length === 0) return [];
    const remedy = 'when ENOMEM or EAGAIN comes from a verbs call: raise it there, or in the settings of the container';
    return [note('cgroup', `${file} limits RDMA objects: ${limits.join('; ')}`, remedy)];
  });
}

const amount = (value: number) => (value === Number.POSITIVE_INFINITY ? 'unlimited' : String(value));
