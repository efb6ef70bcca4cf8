// Checks of this program and its libraries: Node.js, the addon, libibverbs, librdmacm, the software device.
//
// Invariant: pure functions of what was observed.
import { type Finding, note, ok, problem, warning } from './finding.js';
import type { Observation } from './observation.js';
import type { System } from './system.js';

const MIN_NODE_MAJOR = 20;

export function programChecks(system: System, observed: Observation): Finding[] {
  const checks = [nodeVersion(system), addon(system, observed)];
  if (observed.addonProblem !== null) return checks;
  return [...checks, verbsLibrary(observed), cmLibrary(system, observed), ...softDevice(observed)].filter(
    (finding) => finding !== undefined,
  );
}

function nodeVersion({ nodeVersion: version }: System): Finding {
  const major = Number(/^v(\d+)\./.exec(version)?.[1]);
  if (major >= MIN_NODE_MAJOR) return ok('node', `Node.js ${version}`);
  return problem('node', `Node.js ${version}`, `install Node.js ${MIN_NODE_MAJOR} or newer`);
}

function addon({ arch }: System, { addonProblem, addonRemedy, missing }: Observation): Finding {
  if (addonProblem !== null)
    return problem('addon', addonProblem, addonRemedy ?? 'run it again with NODE_DEBUG=module');
  const [seen, remedy] = split(missing.verbs ?? '');
  if (/built without/.test(seen)) return problem('addon', seen, remedy);
  return ok('addon', `the native addon is loaded (linux-${arch}), built with verbs`);
}

function verbsLibrary({ missing }: Observation): Finding | undefined {
  const why = missing.verbs ?? '';
  if (/built without/.test(why)) return undefined;
  if (/cannot be listed/.test(why)) {
    return problem(
      'libibverbs',
      why,
      'see the log of the kernel (dmesg), and whether kernel and rdma-core fit together',
    );
  }
  if (!/^libibverbs\S* /.test(why)) return ok('libibverbs', 'libibverbs is loaded');
  // "libibverbs.so.1 cannot be loaded (libibverbs.so.1: ...); install it: ..."
  return problem('libibverbs', ...splitAt(why, why.includes('); ') ? '); ' : ': '));
}

function cmLibrary(system: System, { rdmacmProblem }: Observation): Finding {
  if (rdmacmProblem === null) return ok('librdmacm', 'librdmacm is loaded, and an event channel can be opened');
  if (/librdmacm\.so|built without/.test(rdmacmProblem)) {
    return warning(
      'librdmacm',
      rdmacmProblem,
      'needed for rdma_cm only: install librdmacm1 (Debian, Ubuntu) or librdmacm',
    );
  }
  if (!system.exists('/sys/class/infiniband')) {
    return note('librdmacm', 'librdmacm is loaded; rdma_cm needs the modules of the kernel');
  }
  return warning(
    'librdmacm',
    `rdma_cm cannot be used: ${rdmacmProblem}`,
    'modprobe rdma_ucm, and see the device files',
  );
}

function softDevice({ devices, memoryProblems, peerProblem }: Observation): Finding[] {
  const soft = devices.find(({ kind }) => kind === 'soft');
  const why = soft === undefined ? 'not listed' : (soft.problem ?? memoryProblems[soft.name]);
  const findings = [
    why === undefined
      ? ok('soft0', 'soft0 opens, and memory (memfd) can be registered')
      : problem('soft0', ...softProblem(why)),
  ];
  if (peerProblem !== null) {
    findings.push(problem('peer', `soft0 does not join two processes here: ${peerProblem}`, peerRemedy(peerProblem)));
  } else if (why === undefined)
    findings.push(ok('peer', 'soft0 joins two processes of this user: a message went over'));
  return findings;
}

// An error has its remedy in brackets at its end.
function softProblem(why: string): [string, string] {
  const [, words = why, remedy = 'it needs memfd_create(2), shared memory and free descriptors'] =
    /^([^(]*[^( ]) \((.*)\)$/.exec(why) ?? [];
  return [`soft0 cannot be used: ${words}`, remedy];
}

function peerRemedy(words: string): string {
  if (/could not be started|E[MN]FILE|ulimit/.test(words)) {
    return 'raise the limits on open files, processes and memory (ulimit -n, ulimit -u, ulimit -v)';
  }
  if (/pidfd_open/.test(words)) return 'allow pidfd_open(2) in the seccomp profile, or take Linux 5.3 or newer';
  if (/another container/.test(words)) {
    return 'mount the /proc of this PID namespace (unshare --mount-proc), and run both processes as one user';
  }
  return 'look for a security module (AppArmor, SELinux), a mount of /proc, or a node binary with file capabilities (getcap)';
}

const split = (text: string) => splitAt(text, ': ');

function splitAt(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, text] : [text.slice(0, at + mark.trimEnd().length - 1), text.slice(at + mark.length)];
}
