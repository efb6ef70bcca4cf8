// The distribution's packages: which are needed, which are missing, and how the missing ones get here.
// Invariant: only root installs, and only what is missing; everyone else gets the exact command to run.

import { readFileSync } from 'node:fs';

import { cannotRun } from './failure.mjs';
import { findProgram, runProgram } from './program.mjs';

/** What the addon needs to know verbs devices and connection managers, at build time. */
export const HEADERS = ['libibverbs-dev', 'librdmacm-dev'];

/** Without these no guest boots, or none has a device that the addon knows. */
export const PACKAGES = [
  'qemu-system-x86',
  'busybox-static',
  'kmod',
  'cpio',
  'iproute2',
  'rdma-core',
  'ibverbs-providers',
  ...HEADERS,
  'ibverbs-utils',
  'perftest',
  'rdmacm-utils',
];

/** Unpackers that make a faster kernel; installed along with others, never a reason to refuse. */
const HELPFUL = ['xz-utils', 'zstd'];

/** The package that depends on the newest stock kernel, and which of its dependencies hold kernel and modules. */
const KERNELS = {
  debian: { meta: 'linux-image-amd64', parts: /^linux-image-[0-9]\S*$/ },
  ubuntu: { meta: 'linux-image-generic', parts: /^linux-(image|modules|modules-extra)-[0-9]\S*$/ },
};

const APT = ['apt-get', '-y', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=2'];
const QUIET_APT = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'a' };
const ATTEMPTS = 3;

export const isRoot = () => process.getuid() === 0;

/** Refuses machines this cannot work on. @returns {{ meta: string, parts: RegExp }} the distribution's kernel */
export function requireDistribution() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw cannotRun(
      `the guest needs an x86_64 Linux machine, this is ${process.platform} ${process.arch}; ` +
        'run it on one, or use a machine whose own kernel has rdma_rxe',
    );
  }
  const release = readRelease();
  const names = [release.ID, ...(release.ID_LIKE ?? '').split(' ')];
  const name = names.includes('ubuntu') ? 'ubuntu' : names.find((one) => one === 'debian');
  if (name === undefined || findProgram('apt-get') === undefined || findProgram('dpkg-query') === undefined) {
    throw cannotRun(
      `the guest is built from Debian or Ubuntu packages, this is ${release.PRETTY_NAME ?? 'another system'}; ` +
        'run it in a Debian container or machine',
    );
  }
  return KERNELS[name];
}

function readRelease() {
  let text = '';
  try {
    text = readFileSync('/etc/os-release', 'utf8');
  } catch {
    // Not a distribution that says what it is.
  }
  const pairs = text.split('\n').map((line) => /^(\w+)=["']?(.*?)["']?$/.exec(line));
  return Object.fromEntries(pairs.filter(Boolean).map(([, name, value]) => [name, value]));
}

/** @param {AbortSignal} stop @param {string[]} [more] beside PACKAGES @returns {Promise<string[]>} */
export async function missingPackages(stop, more = []) {
  const needed = [...PACKAGES, ...more];
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax is dpkg-query's own
  const query = ['dpkg-query', '-W', '-f', '${Package} ${db:Status-Status}\\n', ...needed];
  const { stdout } = await runProgram(query, { stop, capture: true, quiet: true });
  const installed = new Set(stdout.split('\n').filter((line) => line.endsWith(' installed')));
  return needed.filter((name) => !installed.has(`${name} installed`));
}

/** @param {string[]} names */
export const installLine = (names) => `apt-get update && apt-get install -y --no-install-recommends ${names.join(' ')}`;

/** @param {AbortSignal} stop @param {(text: string) => void} progress @param {string[]} [more] beside PACKAGES */
export async function ensurePackages(stop, progress, more = []) {
  let missing = await missingPackages(stop, more);
  for (let attempt = 0; attempt < ATTEMPTS && missing.length > 0; attempt += 1) {
    if (!isRoot()) {
      throw cannotRun(`missing packages: ${missing.join(' ')}; as root: ${installLine(missing)}`);
    }
    progress(`installing ${missing.join(' ')}`);
    if (attempt > 0 || !(await canInstall([...missing, ...HELPFUL], stop))) await updateLists(stop);
    const install = [...APT, 'install', '--no-install-recommends', ...missing, ...HELPFUL];
    await runProgram(install, { stop, env: QUIET_APT, finishes: true, minutes: 30 });
    missing = await missingPackages(stop, more);
  }
  if (missing.length > 0) throw cannotRun(`these packages could not be installed: ${installLine(missing)}`);
}

/** @param {AbortSignal} stop */
export async function updateLists(stop) {
  await runProgram([...APT, 'update'], { stop, env: QUIET_APT, finishes: true });
}

/** Whether apt knows a candidate for each of them. @param {string[]} names @param {AbortSignal} stop */
export async function canInstall(names, stop) {
  const { stdout } = await runProgram(['apt-cache', 'policy', ...names], { stop, capture: true, quiet: true });
  return (stdout.match(/^ {2}Candidate: [^(\s]/gm) ?? []).length === names.length;
}

/**
 * The concrete packages of the newest stock kernel with their version, as apt's lists have it.
 * @param {{ meta: string, parts: RegExp }} kernel @param {AbortSignal} stop
 * @returns {Promise<{ release: string, version: string, packages: string[] } | undefined>}
 */
export async function findKernel(kernel, stop) {
  const show = ['apt-cache', '--no-all-versions', 'show'];
  const meta = await runProgram([...show, kernel.meta], { stop, capture: true, quiet: true });
  const packages = new Set(dependencies(meta.stdout).filter((name) => kernel.parts.test(name)));
  const image = [...packages].find((name) => name.startsWith('linux-image-'));
  if (image === undefined) return undefined;
  const { stdout } = await runProgram([...show, image], { stop, capture: true, quiet: true });
  for (const name of dependencies(stdout)) if (kernel.parts.test(name)) packages.add(name);
  const version = /^Version: (\S+)$/m.exec(stdout)?.[1];
  if (version === undefined) return undefined;
  return { release: image.replace('linux-image-', ''), version, packages: [...packages] };
}

function dependencies(record) {
  const fields = [...record.matchAll(/^(?:Pre-)?Depends: (.*)$/gm)].map((match) => match[1]);
  return fields.flatMap((field) => field.split(/[,|]/)).map((item) => item.trim().split(/[\s:(]/)[0]);
}

/** Downloads packages into a directory without installing them. @returns {Promise<boolean>} whether all came */
export async function download(names, directory, stop) {
  // The download works for every user; root's sandboxed helper user cannot enter the directory, hence the option.
  const words = [...APT, '-q', '-o', 'APT::Sandbox::User=root', 'download', ...names];
  const { code } = await runProgram(words, { stop, cwd: directory, env: QUIET_APT, minutes: 30 });
  return code === 0;
}
