// Checks of limits: locked memory, open files, size of files, addresses, processes, huge pages, and the cgroup's shares
// of memory, processes and RDMA objects.
//
// Invariant: pure functions of the recorded machine; each limit is said with its value.
import { bytesInWords, controlGroupRoom } from '../core/memory-room.js';
import { type Finding, note, ok, warning } from './finding.js';
import { kernelDevices } from './kernel-checks.js';
import { limitOf, numberIn, type System } from './system.js';

/** The default of most systems is 8 MiB, which a few regions use up; each queue and ring counts too. */
const MIN_MEMLOCK_BYTES = 64 * 2 ** 20;
const MIN_OPEN_FILES = 1024;
const CAP_IPC_LOCK = 14n;
/** The largest message has 1 GiB, and its memory is a file to the kernel. */
const MIN_FILE_BYTES = 2 ** 30;
/** What Node.js reserves for itself is a few GiB; what peers share comes on top. */
const MIN_ADDRESS_BYTES = 16 * 2 ** 30;
/** Threads and processes: a stage has some twelve. */
const MIN_TASKS = 200;
const MIN_FREE_BYTES = 512 * 2 ** 20;

export function limitChecks(system: System): Finding[] {
  return [
    memlock(system),
    openFiles(system),
    ...fileSize(system),
    ...addressSpace(system),
    ...processes(system),
    hugePages(system),
    ...cgroupMemory(system),
    ...cgroupTasks(system),
    ...cgroup(system),
  ];
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

// These are unlimited nearly everywhere, and not worth a line there.
function fileSize(system: System): Finding[] {
  const limit = limitOf(system, 'Max file size');
  if (limit === undefined || limit.soft === Number.POSITIVE_INFINITY) return [];
  const seen = `RLIMIT_FSIZE is ${limit.soft} bytes (at most ${amount(limit.hard)}), which binds shared memory too`;
  if (limit.soft >= MIN_FILE_BYTES) return [note('fsize', seen)];
  return [warning('fsize', `${seen}: larger messages fail with EFBIG`, 'ulimit -f unlimited')];
}

function addressSpace(system: System): Finding[] {
  const limit = limitOf(system, 'Max address space');
  if (limit === undefined || limit.soft === Number.POSITIVE_INFINITY) return [];
  const seen = `RLIMIT_AS is ${limit.soft} bytes (at most ${amount(limit.hard)})`;
  if (limit.soft >= MIN_ADDRESS_BYTES) return [note('as', seen)];
  return [warning('as', `${seen}: mapping the memory of peers may fail with ENOMEM`, 'ulimit -v unlimited')];
}

function processes(system: System): Finding[] {
  const limit = limitOf(system, 'Max processes');
  if (limit === undefined || limit.soft >= MIN_TASKS) return [];
  const seen = `RLIMIT_NPROC is ${limit.soft} (at most ${amount(limit.hard)}) for all processes and threads of this user`;
  return [warning('nproc', `${seen}; a stage of a pipeline has some twelve`, 'ulimit -u 4096')];
}

function cgroupMemory(system: System): Finding[] {
  const room = controlGroupRoom((path) => system.readFile(path));
  if (room === undefined) return [];
  if (room.bytes >= MIN_FREE_BYTES) return [note('cgroup-memory', room.words)];
  const remedy = 'raise it (--memory for docker, limits.memory for Kubernetes, MemoryMax for systemd)';
  const seen = `${room.words}; a pipeline takes some ${bytesInWords(16 * 2 ** 20)} a process, and more for requests`;
  return [warning('cgroup-memory', seen, remedy)];
}

function cgroupTasks(system: System): Finding[] {
  const folders = cgroupFolders(system, 'pids');
  return folders.flatMap((folder) => {
    const most = numberIn(system, `${folder}/pids.max`);
    const now = numberIn(system, `${folder}/pids.current`);
    if (most === undefined || now === undefined || most - now >= MIN_TASKS) return [];
    const seen = `${folder}/pids.max leaves ${Math.max(0, most - now)} of ${most} processes and threads; a stage of a pipeline has some twelve`;
    return [warning('cgroup-pids', seen, 'raise it (--pids-limit for docker, TasksMax for systemd)')];
  });
}

// The folders of this process's own group and of the root, which in a container is its own.
function cgroupFolders(system: System, controller: string): string[] {
  const text = system.readFile('/proc/self/cgroup') ?? '';
  const folders = text.split('\n').flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) return [];
    if (controllers !== '' && !controllers.split(',').includes(controller)) return [];
    const mount = controllers === '' ? '/sys/fs/cgroup' : `/sys/fs/cgroup/${controller}`;
    return [mount, `${mount}${path}`.replace(/\/$/, '')];
  });
  return [...new Set(folders)];
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
