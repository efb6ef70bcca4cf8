// The guest's kernel and initramfs, built once from the distribution's kernel package and kept in a cache.
// Invariant: an image directory in the cache is complete, because it is built next to it and renamed into place; its
// name says which kernel it is and which recipe made it, so a changed recipe never boots an old image.

import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { cannotRun } from './failure.mjs';
import { placeKernel } from './kernel.mjs';
import { download, findKernel, isRoot, requireDistribution, updateLists } from './packages.mjs';
import { dyingWithParent, findProgram, runProgram } from './program.mjs';
import { unpack } from './unpack.mjs';

/** Kernel modules the guest loads, with their dependencies; the optional ones are built in or gone in some kernels. */
const MODULES = ['virtio_pci', 'virtio_console', 'virtio_net', '9pnet_virtio', '9p', 'overlay'].concat([
  'rdma_rxe',
  'ib_uverbs',
  'rdma_ucm',
]);
const OPTIONAL_MODULES = ['crc32_generic', 'dummy', 'veth', 'virtio_rng'];
const MODULE_PARAMETERS = { dummy: 'numdummies=0' };
/** Programs of busybox that the two init scripts call. */
const APPLETS = ['sh', 'mount', 'umount', 'mkdir', 'mkfifo', 'insmod', 'head', 'cat', 'chroot', 'env', 'setsid'].concat(
  ['ip', 'hostname', 'ln', 'chmod', 'sync', 'date', 'poweroff', 'sleep', 'uname'],
);
const STUB = new URL('stub-init.sh', import.meta.url);
const BUILDING = '.building-';
const REMOVE = Object.freeze({ recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
const DAY = 86_400_000;

export function cacheDirectory() {
  const { ONEPIECE_RXE_CACHE, XDG_CACHE_HOME, HOME } = process.env;
  if (ONEPIECE_RXE_CACHE) return path.resolve(ONEPIECE_RXE_CACHE);
  return path.resolve(XDG_CACHE_HOME || path.join(HOME || os.homedir(), '.cache'), 'onepiece-rdma', 'rxe');
}

function recipeHash() {
  const hash = createHash('sha256');
  for (const file of [STUB, new URL('kernel.mjs', import.meta.url)]) hash.update(fs.readFileSync(file));
  hash.update(JSON.stringify([MODULES, OPTIONAL_MODULES, MODULE_PARAMETERS, APPLETS]));
  return hash.digest('hex').slice(0, 12);
}

/** The newest image of the current recipe. @returns {{ kernel: string, initrd: string, name: string } | undefined} */
export function cachedImage() {
  const suffix = `-${recipeHash()}`;
  const images = entries(cacheDirectory()).filter(
    (entry) => entry.name.startsWith('linux-') && entry.name.endsWith(suffix),
  );
  images.sort((one, other) => other.modified - one.modified);
  return images.length === 0 ? undefined : describe(images[0].file);
}

function describe(directory) {
  return {
    name: path.basename(directory).replace(/^linux-|-[0-9a-f]{12}$/g, ''),
    kernel: path.join(directory, 'kernel'),
    initrd: path.join(directory, 'initramfs'),
  };
}

function entries(directory) {
  let names = [];
  try {
    names = fs.readdirSync(directory);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const file = path.join(directory, name);
    const modified = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
    return modified === undefined ? [] : [{ name, file, modified }];
  });
}

/**
 * @param {{ stop: AbortSignal, progress: (text: string) => void, newest?: boolean }} options `newest`: build the
 *   newest kernel apt knows, even when an older one is there
 */
export async function ensureImage({ stop, progress, newest = false }) {
  const present = cachedImage();
  if (present !== undefined && !newest) return present;
  const source = requireDistribution();
  let kernel = await findKernel(source, stop);
  if (kernel === undefined && isRoot()) {
    await updateLists(stop);
    kernel = await findKernel(source, stop);
  }
  if (kernel === undefined) {
    if (present !== undefined) return present;
    throw cannotRun(`apt does not know the package ${source.meta}; as root: apt-get update`);
  }
  const name = `linux-${kernel.release}_${kernel.version.replaceAll(/[^\w.+~-]/g, '_')}-${recipeHash()}`;
  const final = path.join(cacheDirectory(), name);
  if (fs.existsSync(final)) return describe(final);
  const building = makeBuildDirectory();
  try {
    progress(`building the guest's image from ${kernel.packages.join(' ')} ${kernel.version}`);
    await build(kernel, source, building, stop);
    publish(path.join(building, 'image'), final);
  } finally {
    fs.rmSync(building, REMOVE);
  }
  removeOld(final);
  return describe(final);
}

function makeBuildDirectory() {
  const cache = cacheDirectory();
  try {
    fs.mkdirSync(cache, { recursive: true });
    return fs.mkdtempSync(path.join(cache, `${BUILDING}${process.pid}-`));
  } catch (error) {
    throw notWritable(cache, error);
  }
}

/** Refuses a cache that could not be written, without making it. */
export function requireWritableCache() {
  let existing = cacheDirectory();
  while (!fs.existsSync(existing) && existing !== path.dirname(existing)) existing = path.dirname(existing);
  try {
    fs.accessSync(existing, fs.constants.W_OK);
  } catch (error) {
    throw notWritable(cacheDirectory(), error);
  }
}

function notWritable(cache, error) {
  return cannotRun(`the cache ${cache} is not writable (${error.code}); set ONEPIECE_RXE_CACHE to a directory that is`);
}

/** Another run may have published the same image first; theirs is as good. */
function publish(image, final) {
  try {
    fs.renameSync(image, final);
  } catch (error) {
    if (!fs.existsSync(final)) throw error;
  }
}

/** Images nobody has a use for, and what a killed run left behind. @param {string} [keep] */
export function removeOld(keep) {
  for (const { name, file, modified } of entries(cacheDirectory())) {
    const builder = name.startsWith(BUILDING) ? Number(name.slice(BUILDING.length).split('-')[0]) : undefined;
    const abandoned = builder !== undefined && (!fs.existsSync(`/proc/${builder}`) || Date.now() - modified > DAY);
    const outdated = keep !== undefined && file !== keep && name.startsWith('linux-') && Date.now() - modified > DAY;
    try {
      if (abandoned || outdated) fs.rmSync(file, REMOVE);
    } catch {
      // Someone else's; it takes room but does no harm.
    }
  }
}

async function build(kernel, source, directory, stop) {
  const inside = (...names) => path.join(directory, ...names);
  for (const name of ['debs', 'root', 'initramfs/bin', 'initramfs/modules', 'image']) {
    fs.mkdirSync(inside(name), { recursive: true });
  }
  await fetchPackages(kernel, source, inside('debs'), stop);
  for (const deb of fs.readdirSync(inside('debs')).filter((name) => name.endsWith('.deb'))) {
    await extract(inside('debs', deb), inside('root'), stop);
    fs.rmSync(inside('debs', deb));
  }
  joinModuleDirectories(inside('root'));
  const order = await loadOrder(kernel.release, inside('root'), stop);
  await addModules(order, inside('initramfs'), stop);
  addPrograms(inside('initramfs'));
  await pack(inside('initramfs'), inside('image/initramfs'), stop);
  await placeKernel(inside('root/boot', `vmlinuz-${kernel.release}`), inside('image/kernel'), inside('payload'), stop);
  for (const name of ['image/kernel', 'image/initramfs']) fs.chmodSync(inside(name), 0o644);
  fs.chmodSync(inside('image'), 0o755);
}

async function fetchPackages(kernel, source, directory, stop) {
  if (await download(kernel.packages, directory, stop)) return;
  if (isRoot()) {
    await updateLists(stop);
    const newer = await findKernel(source, stop);
    if (newer?.version === kernel.version && (await download(kernel.packages, directory, stop))) return;
    if (newer?.version !== kernel.version)
      throw cannotRun('the kernel package was just replaced by a newer one; run again');
  }
  throw cannotRun(`apt-get download ${kernel.packages.join(' ')} failed; as root: apt-get update, then try again`);
}

/** Packages and kmod moved from lib to usr/lib at different times. */
function joinModuleDirectories(root) {
  for (const [one, other] of [
    ['lib', 'usr/lib'],
    ['usr/lib', 'lib'],
  ]) {
    const missing = path.join(root, one, 'modules');
    const present = path.join(root, other, 'modules');
    if (fs.existsSync(missing) || !fs.existsSync(present)) continue;
    fs.mkdirSync(path.dirname(missing), { recursive: true });
    fs.symlinkSync(path.relative(path.dirname(missing), present), missing);
  }
}

/** As `dpkg-deb -x`, whose helper processes would go on after a killed runner; here a broken pipe ends them. */
async function extract(deb, directory, stop) {
  const script = 'deb=$1; shift; dpkg-deb --fsys-tarfile "$deb" | "$@"';
  await must(['sh', '-c', script, 'sh', deb, ...dyingWithParent(['tar', '-x', '-C', directory])], { stop });
}

/** The files of the modules in the order to load them. @returns {Promise<string[]>} */
async function loadOrder(release, root, stop) {
  await must(['depmod', '-b', root, release], { stop });
  const files = new Set();
  for (const name of [...OPTIONAL_MODULES, ...MODULES]) {
    // This machine's own modprobe configuration is no concern of the guest's.
    const words = ['modprobe', '-C', '/dev/null', '-S', release, '-d', root, '--show-depends', name];
    const { code, stdout } = await runProgram(words, { stop, capture: true, quiet: true });
    if (code !== 0 && MODULES.includes(name)) throw cannotRun(`the kernel ${release} has no module ${name}`);
    for (const [, file] of stdout.matchAll(/^insmod (.*\.ko(?:\.\w+)?)(?:\s.*)?$/gm)) files.add(file);
  }
  return [...files];
}

async function addModules(files, initramfs, stop) {
  const lines = [];
  for (const file of files) {
    const packed = !file.endsWith('.ko');
    if (packed && !(await unpack(file, stop))) {
      throw cannotRun(`cannot unpack ${path.basename(file)}; as root: apt-get install -y xz-utils zstd`);
    }
    const plain = packed ? file.slice(0, -path.extname(file).length) : file;
    const name = path.basename(plain, '.ko');
    lines.push(`${name}.ko ${MODULE_PARAMETERS[name] ?? ''}`.trim());
    fs.copyFileSync(plain, path.join(initramfs, 'modules', `${name}.ko`));
  }
  fs.writeFileSync(path.join(initramfs, 'modules/order'), `${lines.join('\n')}\n`);
}

function addPrograms(initramfs) {
  const busybox = findProgram('busybox');
  if (busybox === undefined) throw cannotRun('busybox is missing; as root: apt-get install -y busybox-static');
  fs.copyFileSync(busybox, path.join(initramfs, 'bin/busybox'));
  for (const applet of APPLETS) fs.symlinkSync('busybox', path.join(initramfs, 'bin', applet));
  fs.copyFileSync(STUB, path.join(initramfs, 'init'));
  for (const name of ['bin/busybox', 'init']) fs.chmodSync(path.join(initramfs, name), 0o755);
  for (const name of ['proc', 'sys', 'dev', 'run', 'host', 'over', 'guest']) fs.mkdirSync(path.join(initramfs, name));
}

/** Not compressed: the guest's processor is emulated, so unpacking costs more than reading. */
async function pack(directory, target, stop) {
  const names = fs.readdirSync(directory, { recursive: true });
  const words = ['cpio', '--quiet', '-o', '-H', 'newc', '-R', '0:0', '-O', target];
  await must(words, { stop, cwd: directory, input: `${names.sort().join('\n')}\n` });
}

async function must(words, options) {
  const { code } = await runProgram(words, options);
  if (code !== 0) throw cannotRun(`${words.join(' ')} failed with code ${code} while building the image`);
}
