// Proves: on a healthy machine nothing is worse than a note, and each finding appears with what causes it and goes with
// it.
import t from 'tap';
import type { Severity } from '../../src/ts/doctor/finding.js';
import { diagnosisOf, findings, gid, LINK_LOCAL, limits, type Machine, port, soft, verbs } from './recorded.js';

void t.test('a healthy machine', async (t) => {
  const { findings: all } = diagnosisOf();
  t.same(
    all.filter(({ severity }) => severity === 'warning' || severity === 'problem'),
    [],
  );
  t.same(
    all.map(({ id }) => id),
    [
      ...['node', 'addon', 'libibverbs', 'librdmacm', 'soft0', 'peer', 'kernel', 'modules', 'devices', 'device-files'],
      ...['memory', 'gid', 'mtu', 'firewall', 'memlock', 'nofile', 'hugepages', 'gpus'],
    ],
  );
});

const noKernel = { '/sys/module/ib_core/x': null, '/sys/class/infiniband/rxe0/parent': null };
const noFiles = { '/dev/infiniband/uverbs0': null, '/dev/infiniband/rdma_cm': null };
const ports = (...changes: Parameters<typeof port>) => ({ devices: [verbs({ ports: [port(...changes)] }), soft()] });
const down = { state: 'down', physicalState: 'disabled', chosen: null, problem: 'not active' };
const infiniband = { ...down, linkLayer: 'InfiniBand' };
const two = { devices: [verbs({ ports: [port(), port({ port: 2, ...down })] }), soft()] };
const noLibrary =
  'libibverbs.so.1 cannot be loaded (libibverbs.so.1: cannot open shared object file); install it: `apt-get install libibverbs1`';
const noHeader =
  'this binary was built without <infiniband/verbs.h>, so it knows no verbs devices: install libibverbs-dev';
const noAddon = { addonProblem: 'not loaded', addonRemedy: 'build it' };
const unlisted = 'the RDMA devices cannot be listed: Bad address';
const limited = (name: string, soft: string) => ({
  '/proc/self/limits': `${limits('unlimited', '4096')}${name.padEnd(26)}${soft.padEnd(21)}unlimited            x\n`,
});
const memoryGroup = (usedMiB: number) => ({
  '/sys/fs/cgroup/user.slice/memory.max': `${2 ** 30}\n`,
  '/sys/fs/cgroup/user.slice/memory.current': `${usedMiB * 2 ** 20}\n`,
});
const fewBytes = { '/proc/self/limits': limits('65536', '4096') };

const cases: [id: string, severity: Severity, seen: RegExp, remedy: RegExp | null, machine: Machine][] = [
  ['libibverbs', 'problem', /cannot be listed/, /dmesg/, { observed: { missing: { verbs: unlisted } } }],
  [
    'peer',
    'problem',
    /could not be started/,
    /ulimit -u/,
    { observed: { peerProblem: 'it could not be started: EAGAIN' } },
  ],
  ['node', 'problem', /v18\.2\.0/, /20 or newer/, { system: { nodeVersion: 'v18.2.0' } }],
  ['addon', 'problem', /^not loaded$/, /^build it$/, { observed: { ...noAddon, devices: [] } }],
  ['addon', 'problem', /no verbs devices$/, /^install libibverbs-dev/, { observed: { missing: { verbs: noHeader } } }],
  [
    'libibverbs',
    'problem',
    /open shared object file\)$/,
    /^install it/,
    { observed: { missing: { verbs: noLibrary } } },
  ],
  [
    'librdmacm',
    'warning',
    /librdmacm\.so\.1/,
    /librdmacm1/,
    { observed: { rdmacmProblem: 'librdmacm.so.1 is missing' } },
  ],
  ['librdmacm', 'warning', /cannot be used: EACCES/, /rdma_ucm/, { observed: { rdmacmProblem: 'EACCES' } }],
  ['librdmacm', 'note', /needs the modules/, null, { tree: noKernel, observed: { rdmacmProblem: 'no kernel' } }],
  ['soft0', 'problem', /EMFILE/, /memfd/, { observed: { devices: [soft({ problem: 'EMFILE' })] } }],
  ['soft0', 'problem', /ENOMEM/, /memfd/, { observed: { memoryProblems: { soft0: 'ENOMEM' } } }],
  [
    'soft0',
    'problem',
    /: EFBIG, no file$/,
    /^raise it \(ulimit -f\), which is 7$/,
    { observed: { devices: [soft({ problem: 'soft0: EFBIG, no file (raise it (ulimit -f), which is 7)' })] } },
  ],
  ['peer', 'problem', /EPERM/, /seccomp profile/, { observed: { peerProblem: 'EPERM (pidfd_open(2) is refused)' } }],
  ['peer', 'problem', /EMFILE/, /ulimit -n/, { observed: { peerProblem: 'EMFILE: too many open files' } }],
  ['peer', 'problem', /container/, /--mount-proc/, { observed: { peerProblem: 'it is in another container' } }],
  ['peer', 'problem', /EACCES/, /AppArmor/, { observed: { peerProblem: 'EACCES' } }],
  ['modules', 'warning', /no InfiniBand support/, /modprobe rdma_rxe/, { tree: noKernel }],
  [
    'modules',
    'warning',
    /no InfiniBand/,
    /load it on the host/,
    { tree: { ...noKernel, '/lib/modules/6.1.0/x': null } },
  ],
  ['modules', 'problem', /ib_uverbs is not/, /modprobe ib_uverbs/, { tree: { '/sys/module/ib_uverbs/x': null } }],
  ['rdma-ucm', 'warning', /rdma_ucm/, /modprobe rdma_ucm/, { tree: { '/sys/module/rdma_ucm/x': null } }],
  ['devices', 'warning', /no RDMA device/, /rdma link add/, { tree: { '/sys/class/infiniband/rxe0/parent': null } }],
  ['provider', 'problem', /does not show rxe0/, /ibverbs-providers/, { observed: { devices: [soft()] } }],
  ['device-files', 'problem', /\/dev\/infiniband is missing/, /--device/, { tree: noFiles }],
  ['device-files', 'problem', /no uverbs file/, /--device/, { tree: { '/dev/infiniband/uverbs0': null } }],
  ['device-access', 'problem', /uverbs0$/, /udev/, { access: { '/dev/infiniband/uverbs0': 'denied' } }],
  ['cm-file', 'warning', /rdma_cm is missing/, /rdma_ucm/, { tree: { '/dev/infiniband/rdma_cm': null } }],
  ['open', 'problem', /EPERM/, /device files/, { observed: { devices: [verbs({ problem: 'EPERM' }), soft()] } }],
  ['memory', 'problem', /rxe0: ENOMEM/, /ulimit -l/, { observed: { memoryProblems: { rxe0: 'ENOMEM' } } }],
  ['port', 'problem', /port 1 of rxe0 is down/, /ip link set/, { observed: ports(down) }],
  ['port', 'problem', /is down/, /opensm/, { observed: ports(infiniband) }],
  ['port', 'warning', /port 2 of rxe0/, /ip link set/, { observed: two }],
  ['gid', 'problem', /no address/, /IP address/, { observed: ports({ chosen: null, problem: 'no address' }) }],
  ['gid', 'warning', /only RoCE v1/, /enable RoCE v2/, { observed: ports({ gids: [gid('RoCE v1')] }) }],
  ['gid', 'warning', /only link-local/, /give eth0/, { observed: ports({ gids: [gid('RoCE v2', LINK_LOCAL)] }) }],
  [
    'mtu',
    'note',
    /packets of 1024 bytes; eth0 has MTU 4200/,
    /mtu 4296/,
    { observed: ports({ activeMtuBytes: 1024 }) },
  ],
  ['mtu', 'warning', /has MTU 1500, which is less/, /mtu 4296/, { tree: { '/sys/class/net/eth0/mtu': '1500\n' } }],
  ['memlock', 'warning', /65536 bytes \(at most unlimited\)/, /ulimit -l unlimited/, { tree: fewBytes }],
  ['memlock', 'note', /65536 bytes/, /ulimit/, { tree: { ...fewBytes, ...noKernel } }],
  ['nofile', 'warning', /is 256/, /ulimit -n/, { tree: { '/proc/self/limits': limits('unlimited', '256') } }],
  ['fsize', 'warning', /is 1024 bytes.*EFBIG/, /ulimit -f/, { tree: limited('Max file size', '1024') }],
  ['fsize', 'note', /is 9999999999 bytes/, null, { tree: limited('Max file size', '9999999999') }],
  ['as', 'warning', /is 4096000 bytes.*ENOMEM/, /ulimit -v/, { tree: limited('Max address space', '4096000') }],
  ['as', 'note', /is 99999999999 bytes/, null, { tree: limited('Max address space', '99999999999') }],
  ['nproc', 'warning', /is 64 /, /ulimit -u/, { tree: limited('Max processes', '64') }],
  ['cgroup-memory', 'warning', /leaves 100 MiB of 1\.0 GiB/, /--memory/, { tree: memoryGroup(924) }],
  ['cgroup-memory', 'note', /leaves 1000 MiB of 1\.0 GiB/, null, { tree: memoryGroup(24) }],
  [
    'cgroup-pids',
    'warning',
    /user\.slice\/pids\.max leaves 4 of 100/,
    /--pids-limit/,
    { tree: { '/sys/fs/cgroup/user.slice/pids.max': '100\n', '/sys/fs/cgroup/user.slice/pids.current': '96\n' } },
  ],
  ['hugepages', 'note', /no huge pages/, /nr_hugepages/, { tree: { '/proc/meminfo': 'HugePages_Total:       0\n' } }],
  [
    'cgroup',
    'note',
    /rxe0 hca_handle=2/,
    /ENOMEM/,
    { tree: { '/sys/fs/cgroup/user.slice/rdma.max': 'rxe0 hca_handle=2\n' } },
  ],
  ['container', 'note', /\.dockerenv/, /--device/, { tree: { '/.dockerenv': '' } }],
  ['container', 'note', /\.containerenv/, /PID namespace/, { tree: { '/run/.containerenv': '' } }],
  ['container', 'note', /kubepods in/, /--device/, { tree: { '/proc/1/cgroup': '0::/kubepods/pod1\n' } }],
  ['netns', 'warning', /rxe0 uses eth0/, /--network=host/, { tree: { '/sys/class/net/eth0/mtu': null } }],
  ['ptrace', 'note', /scope is 2/, null, { tree: { '/proc/sys/kernel/yama/ptrace_scope': '2\n' } }],
  [
    ...(['ptrace', 'warning', /scope is 3/, /at boot/] as const),
    { tree: { '/proc/sys/kernel/yama/ptrace_scope': '3\n' }, observed: { peerProblem: 'EACCES' } },
  ],
  ['hidepid', 'note', /hidepid=2/, null, { tree: { '/proc/self/mounts': 'proc /proc proc rw,hidepid=2 0 0\n' } }],
  [
    ...(['hidepid', 'warning', /hidepid=invisible/, /remount/] as const),
    { tree: { '/proc/self/mounts': 'p /proc proc rw,hidepid=invisible 0 0\n' }, observed: { peerProblem: 'ENOENT' } },
  ],
];

for (const [id, severity, seen, remedy, machine] of cases) {
  void t.test(`${id}, ${severity}: ${seen.source}`, async (t) => {
    const [found, ...more] = findings(id, machine);
    t.same(more, []);
    t.equal(found?.severity, severity);
    t.match(found?.seen, seen);
    if (remedy === null) t.equal(found?.remedy, null);
    else t.match(found?.remedy, remedy);
    const [healthy] = findings(id);
    if (healthy !== undefined) t.notMatch(healthy.seen, seen, 'it goes with its cause');
  });
}

void t.test('CAP_IPC_LOCK lifts the limit of locked memory, in the first user namespace only', async (t) => {
  const tree = { ...fewBytes, '/proc/self/status': 'CapEff:\t000001ffffffffff\n' };
  t.match(findings('memlock', { tree }), [{ severity: 'ok', seen: /CAP_IPC_LOCK/ }]);
  const rootless = { ...tree, '/proc/self/uid_map': '         0       1000          1\n' };
  t.match(findings('memlock', { tree: rootless }), [{ severity: 'warning' }]);
});

void t.test('limits that cannot be read are said, not taken for good', async (t) => {
  const tree = { '/proc/self/limits': null };
  t.match(findings('memlock', { tree }), [{ severity: 'note', seen: /cannot be read/ }]);
  t.match(findings('nofile', { tree }), [{ severity: 'note', seen: /cannot be read/ }]);
});

void t.test('a firewall matters for RoCE only', async (t) => {
  t.equal(findings('firewall').length, 1);
  t.same(findings('firewall', { observed: { devices: [soft()] } }), []);
  t.same(findings('firewall', { observed: { devices: [verbs({ transport: 'InfiniBand' }), soft()] } }), []);
});

void t.test('a driver is called missing only where nothing else explains it', async (t) => {
  const devices = [soft()];
  t.equal(findings('provider', { observed: { devices } }).length, 1);
  t.same(findings('provider', { tree: noFiles, observed: { devices } }), []);
  t.same(findings('provider', { observed: { devices, missing: { verbs: noLibrary } } }), []);
  t.same(findings('provider', { observed: { devices, missing: { verbs: noHeader } } }), []);
  t.same(findings('provider', { observed: { devices: [], addonProblem: 'not loaded' } }), []);
});

void t.test('the verdict rests on what was tried', async (t) => {
  const verdict = (observed: Machine['observed'] = {}) => diagnosisOf({ observed }).verdict;
  t.same(diagnosisOf().usable, ['rxe0', 'soft0']);
  t.equal(verdict(), 'verbs');
  t.equal(verdict({ devices: [soft()] }), 'soft');
  t.equal(verdict(ports(down)), 'soft');
  t.equal(verdict({ memoryProblems: { rxe0: 'ENOMEM' } }), 'soft');
  t.equal(verdict({ devices: [verbs()] }), 'verbs');
  t.equal(verdict({ devices: [soft()], peerProblem: 'EACCES' }), 'none');
  t.equal(verdict({ devices: [soft({ problem: 'EMFILE', ports: [] })] }), 'none');
  t.equal(verdict({ addonProblem: 'not loaded', devices: [] }), 'none');
});
