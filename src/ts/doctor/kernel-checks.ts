// Checks of the kernel: its modules, its devices, their files and what libibverbs makes of them.
//
// Invariant: pure functions of the recorded machine.
import { type Finding, note, ok, problem, warning } from './finding.js';
import type { Observation } from './observation.js';
import type { System } from './system.js';

const CLASS = '/sys/class/infiniband';
const FILES = '/dev/infiniband';

const uverbsFiles = (system: System) => (system.readdir(FILES) ?? []).filter((name) => /^uverbs\d+$/.test(name));

/** The names of the devices that the kernel has, whatever libibverbs says. */
export const kernelDevices = (system: System) => system.readdir(CLASS) ?? [];

export function kernelChecks(system: System, observed: Observation): Finding[] {
  return [
    note('kernel', `Linux ${system.kernelRelease} on ${system.arch}`),
    ...modules(system),
    devices(system),
    ...unlisted(system, observed),
    ...deviceFiles(system),
  ];
}

function modules(system: System): Finding[] {
  const loaded = (name: string) => system.exists(`/sys/module/${name}`);
  const software = ['rdma_rxe', 'siw'].filter(loaded);
  // Built into the kernel, a module without parameters has no folder; the device class is still there.
  const core = loaded('ib_core') || system.exists(CLASS);
  const uverbs = loaded('ib_uverbs') || system.exists('/sys/class/infiniband_verbs');
  const ucm = loaded('rdma_ucm') || system.exists('/sys/class/misc/rdma_cm');
  const built = system.exists(`/lib/modules/${system.kernelRelease}`);
  const else_ = built ? '' : `; /lib/modules/${system.kernelRelease} is not here, so load it on the host, if it has it`;
  if (!core) {
    const remedy = `modprobe ib_uverbs, or modprobe rdma_rxe for soft-RoCE${else_}; without, soft0 works`;
    return [warning('modules', 'the kernel has no InfiniBand support: ib_core is not loaded', remedy)];
  }
  const findings = [
    uverbs
      ? ok('modules', `ib_core and ib_uverbs are there${software.length > 0 ? `, and ${software.join(', ')}` : ''}`)
      : problem('modules', 'ib_uverbs is not loaded: no program can use a device', `modprobe ib_uverbs${else_}`),
  ];
  if (!ucm)
    findings.push(warning('rdma-ucm', 'rdma_ucm is not loaded: rdma_cm cannot be used', `modprobe rdma_ucm${else_}`));
  return findings;
}

function devices(system: System): Finding {
  const names = kernelDevices(system);
  if (names.length > 0) return ok('devices', `the kernel has ${names.join(', ')}`);
  return warning(
    'devices',
    'the kernel has no RDMA device',
    'load the driver of the network card, or make a soft-RoCE device: rdma link add rxe0 type rxe netdev eth0',
  );
}

// Only where nothing else explains it: the addon asks libibverbs, which lists what ib_uverbs offers.
function unlisted(system: System, { addonProblem, devices: listed, missing }: Observation): Finding[] {
  const names = new Set(listed.map(({ name }) => name));
  const without = kernelDevices(system).filter((name) => !names.has(name));
  const asked = addonProblem === null && !/^libibverbs\S* |built without/.test(missing.verbs ?? '');
  if (!asked || without.length === 0 || uverbsFiles(system).length === 0) return [];
  return [
    problem(
      'provider',
      `libibverbs does not show ${without.join(', ')}, which the kernel has: its driver in user space is missing`,
      'install ibverbs-providers (Debian, Ubuntu) or rdma-core (Fedora, RHEL)',
    ),
  ];
}

function deviceFiles(system: System): Finding[] {
  if (!system.exists(CLASS)) return [];
  const names = system.readdir(FILES);
  if (names === undefined) {
    const remedy = 'modprobe ib_uverbs; in a container give it the folder: --device=/dev/infiniband';
    return kernelDevices(system).length === 0 ? [] : [problem('device-files', `${FILES} is missing`, remedy)];
  }
  const uverbs = uverbsFiles(system);
  const files = [...uverbs, 'rdma_cm'].map((name) => `${FILES}/${name}`);
  const denied = files.filter((file) => system.access(file) === 'denied');
  const findings: Finding[] = [];
  if (uverbs.length === 0 && kernelDevices(system).length > 0) {
    const remedy = 'modprobe ib_uverbs; in a container --device=/dev/infiniband';
    findings.push(problem('device-files', `${FILES} has no uverbs file`, remedy));
  }
  if (denied.length > 0) {
    const remedy = 'let the user read and write them: the udev rules of rdma-core, or the group that owns them';
    findings.push(problem('device-access', `this user may not open ${denied.join(', ')}`, remedy));
  }
  if (!names.includes('rdma_cm')) {
    const remedy = 'modprobe rdma_ucm; in a container --device=/dev/infiniband';
    findings.push(warning('cm-file', `${FILES}/rdma_cm is missing: rdma_cm cannot be used`, remedy));
  }
  if (findings.length === 0) findings.push(ok('device-files', `this user may open ${files.join(', ')}`));
  return findings;
}
