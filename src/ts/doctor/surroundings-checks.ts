// Checks of what is around the process: a container, network namespaces, what hides processes from each other.
//
// Invariant: pure functions of what was observed; a trap is named only where its signs are seen.
import { type Finding, note, warning } from './finding.js';
import { kernelDevices } from './kernel-checks.js';
import type { Observation } from './observation.js';
import type { System } from './system.js';

export function surroundingsChecks(system: System, observed: Observation): Finding[] {
  return [
    ...container(system),
    ...networkNamespace(system),
    ...ptraceScope(system, observed),
    ...hiddenProcesses(system, observed),
  ];
}

function container(system: System): Finding[] {
  const marks = ['/.dockerenv', '/run/.containerenv'].filter((file) => system.exists(file));
  const cgroup = /docker|kubepods|containerd|libpod|lxc/.exec(system.readFile('/proc/1/cgroup') ?? '')?.[0];
  if (cgroup !== undefined) marks.push(`${cgroup} in /proc/1/cgroup`);
  if (marks.length === 0) return [];
  const remedy =
    'verbs devices need --device=/dev/infiniband --ulimit memlock=-1 and the network of the host; soft0 reaches processes in ' +
    'one PID namespace only';
  return [note('container', `this is a container (${marks.join(', ')})`, remedy)];
}

// Devices are seen in every network namespace unless `rdma system set netns exclusive`; their interfaces are not.
function networkNamespace(system: System): Finding[] {
  return kernelDevices(system).flatMap((name) => {
    const parent = system.readFile(`/sys/class/infiniband/${name}/parent`)?.trim();
    if (parent === undefined || parent === '' || system.exists(`/sys/class/net/${parent}`)) return [];
    return [
      warning(
        'netns',
        `${name} uses ${parent}, which is not in this network namespace: connections from here may fail, as rxe is for the initial one`,
        'run in the network of the host: --network=host for docker and podman, hostNetwork: true for Kubernetes',
      ),
    ];
  });
}

function ptraceScope(system: System, { peerProblem }: Observation): Finding[] {
  const scope = system.readFile('/proc/sys/kernel/yama/ptrace_scope')?.trim();
  if (scope !== '2' && scope !== '3') return [];
  const seen = `kernel.yama.ptrace_scope is ${scope}`;
  if (peerProblem !== null) {
    const lower = scope === '3' ? 'set it to 1 at boot (3 cannot be lowered)' : 'sysctl kernel.yama.ptrace_scope=1';
    return [warning('ptrace', `${seen}, which may be why processes of this user do not reach each other`, lower)];
  }
  return [note('ptrace', `${seen}: debuggers cannot attach; soft0 is not stopped by it`)];
}

function hiddenProcesses(system: System, { peerProblem }: Observation): Finding[] {
  const mounts = system.readFile('/proc/self/mounts') ?? '';
  const hidden = /^\S+ \/proc proc \S*\bhidepid=(\w+)/m.exec(mounts)?.[1];
  if (hidden === undefined || hidden === '0' || hidden === 'off') return [];
  const seen = `/proc is mounted with hidepid=${hidden}`;
  if (peerProblem !== null) {
    const remedy = 'mount -o remount,hidepid=0 /proc';
    return [warning('hidepid', `${seen}, which may be why processes of this user do not reach each other`, remedy)];
  }
  return [note('hidepid', `${seen}: processes of other users are not seen; soft0 needs those of this user only`)];
}
