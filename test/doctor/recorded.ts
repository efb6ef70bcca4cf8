// Recorded machines for the doctor's tests. Not a test.
import type { GpuInventory } from '../../src/ts/cluster/gpus.js';
import type { DeviceDetails, PortDetails } from '../../src/ts/doctor/device-details.js';
import { diagnose } from '../../src/ts/doctor/diagnosis.js';
import type { Finding } from '../../src/ts/doctor/finding.js';
import type { Observation } from '../../src/ts/doctor/observation.js';
import type { FileAccess, System } from '../../src/ts/doctor/system.js';

/** Texts by path; null takes a path out of the machine it is laid over. */
export type Tree = Record<string, string | null>;

export interface Machine {
  tree?: Tree;
  access?: Record<string, FileAccess>;
  system?: Partial<Pick<System, 'nodeVersion' | 'kernelRelease' | 'arch'>>;
  observed?: Partial<Observation>;
}

/** A host with rxe0 on eth0 where nothing is wrong, as the guest kernel of the tests shows it. */
const healthy: Record<string, string> = {
  '/sys/module/ib_core/x': '',
  '/sys/module/ib_uverbs/x': '',
  '/sys/module/rdma_ucm/x': '',
  '/sys/module/rdma_rxe/x': '',
  '/sys/class/infiniband/rxe0/parent': 'eth0\n',
  '/sys/class/net/eth0/mtu': '4200\n',
  '/dev/infiniband/uverbs0': '',
  '/dev/infiniband/rdma_cm': '',
  '/lib/modules/6.1.0/x': '',
  '/proc/self/limits': limits('unlimited', '4096'),
  '/proc/self/status': 'Name:\tnode\nCapEff:\t0000000000000000\n',
  '/proc/self/uid_map': '         0          0 4294967295\n',
  '/proc/meminfo': 'HugePages_Total:      16\nHugePages_Free:        9\nHugepagesize:       2048 kB\n',
  '/proc/self/mounts': 'proc /proc proc rw,relatime 0 0\n',
  '/proc/self/cgroup': '0::/user.slice\n',
  '/proc/1/cgroup': '0::/init.scope\n',
  '/proc/sys/kernel/yama/ptrace_scope': '1\n',
};

export function limits(memlock: string, files: string): string {
  return [
    'Limit                     Soft Limit           Hard Limit           Units     ',
    `Max open files            ${files.padEnd(20)} 1048576              files     `,
    `Max locked memory         ${memlock.padEnd(20)} unlimited            bytes     `,
    '',
  ].join('\n');
}

/** A machine without GPUs. */
export const NO_GPUS: GpuInventory = { driver: null, cuda: null, gpus: [], peers: [], problem: null };

const IPV4 = '00000000000000000000ffff0a630001';
export const LINK_LOCAL = 'fe800000000000008ca4ddfffef9c43c';

export const gid = (type = 'RoCE v2', digits = IPV4, index = 0) => ({
  ...{ index, gid: digits, address: 'an address', type, netdev: 'eth0', usable: true, why: 'because' },
});

export function port(changes: Partial<PortDetails> = {}): PortDetails {
  return {
    ...{ port: 1, state: 'active', physicalState: 'link up', linkLayer: 'Ethernet' },
    ...{ activeMtuBytes: 4096, maxMtuBytes: 4096, rateGbps: 2.5, lid: 0, lidMaskControl: 0, smLid: 0 },
    ...{ smServiceLevel: 0, maxMessageBytes: 2 ** 23, capabilities: '0x10000', badPkeys: 0, qkeyViolations: 0 },
    ...{ chosen: gid(), problem: null, gids: [gid()], pkeys: [] },
    ...changes,
  };
}

export function verbs(changes: Partial<DeviceDetails> = {}): DeviceDetails {
  return {
    ...{ name: 'rxe0', kind: 'verbs', transport: 'RoCE', nodeGuid: '8ca4:ddff:fef9:c43c', problem: null },
    ...{ provider: 'rxe', firmware: '0.0.0', numaNode: null, attributes: {}, ports: [port()] },
    ...changes,
  };
}

export function soft(changes: Partial<DeviceDetails> = {}): DeviceDetails {
  const ports = [port({ linkLayer: 'shared memory' })];
  return { ...verbs(), name: 'soft0', kind: 'soft', transport: 'shared-memory', ports, ...changes };
}

function systemOf({ tree = {}, access = {}, system = {} }: Machine): System {
  const files = new Map(
    Object.entries({ ...healthy, ...tree }).filter((entry): entry is [string, string] => entry[1] !== null),
  );
  const below = (path: string) => [...files.keys()].filter((file) => file.startsWith(`${path}/`));
  const exists = (path: string) => files.has(path) || below(path).length > 0;
  return {
    ...{ nodeVersion: 'v20.19.0', kernelRelease: '6.1.0', arch: 'x64' },
    ...system,
    readFile: (path) => files.get(path),
    readdir: (path) => {
      const names = below(path).map((file) => file.slice(path.length + 1).split('/')[0]!);
      return names.length === 0 ? undefined : [...new Set(names)].sort();
    },
    exists,
    access: (path) => access[path] ?? (exists(path) ? 'read-write' : 'missing'),
  };
}

/** The diagnosis of a healthy machine with these changes. */
export function diagnosisOf(machine: Machine = {}) {
  const observed: Observation = {
    ...{ addonProblem: null, addonRemedy: null, devices: [verbs(), soft()], missing: {}, rdmacmProblem: null },
    ...{ memoryProblems: {}, peerProblem: null, gpus: NO_GPUS },
    ...machine.observed,
  };
  return diagnose(systemOf(machine), observed);
}

/** The findings of that id. */
export const findings = (id: string, machine: Machine = {}): Finding[] =>
  diagnosisOf(machine).findings.filter((finding) => finding.id === id);
