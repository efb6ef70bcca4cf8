// Proves that a full disk refuses new jobs and loses none, and that all goes on when there is room again: of records,
// and of the files of large values. On a small file system that only the processes of the test see: it ends with them.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { FullDisk } from './full-disk-main.js';

const DISK_BYTES = 8 * 2 ** 20;
const MAIN = join(__dirname, 'full-disk-main.js');

/** Runs a command in a mount namespace of its own, as root there. */
const APART = ['unshare', '--mount', ...(process.getuid?.() === 0 ? [] : ['--map-root-user'])];
const MOUNT = `mount -t tmpfs -o size=${DISK_BYTES} tmpfs "$1"`;
const SKIP = 'this process may not mount a file system in a namespace of its own (unshare --mount)';

/** Runs a shell's words on the disk at `folder`. */
async function onSmallDisk(folder: string, words: string, ...argv: string[]): Promise<string> {
  const [command, ...given] = [...APART, 'sh', '-c', `${MOUNT} && ${words}`, 'sh', folder, ...argv];
  // A group of its own, so that nothing of it is left whatever happens.
  const child = spawn(command!, given, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  let said = '';
  child.stdout.on('data', (data) => {
    said += String(data);
  });
  // It has bounds of its own: this one is for a process that hangs.
  const late = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), 100_000);
  const [code, signal] = await once(child, 'close');
  clearTimeout(late);
  if (code !== 0) throw new Error(`it ended with ${code ?? signal}, and said ${said}`);
  return said;
}

for (const [what, elements] of [
  ['records', 10_000],
  ['files of large values', 60_000],
] as const) {
  void t.test(`a disk that is full of ${what} refuses new jobs and loses none`, { timeout: 110_000 }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'onepiece-disk-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    if (spawnSync(APART[0]!, [...APART.slice(1), 'sh', '-c', MOUNT, 'sh', folder]).status !== 0) {
      t.pass(`skipped: ${SKIP}`, { skip: SKIP });
      return;
    }
    const words = '"$2" "$3" fill "$1" "$4" && "$2" "$3" go-on "$1" "$4"';
    const said = await onSmallDisk(folder, words, process.execPath, MAIN, `${elements}`);
    const [before, after] = said
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as FullDisk);
    t.equal(before!.code, 'RDMA_ERR_STORE_FULL');
    t.match(before!.remedy, /make room/);
    const { accepted, freeBytes } = before!;
    t.ok(accepted.length > 5 && freeBytes < DISK_BYTES / 8, `${accepted.length} accepted, ${freeBytes} bytes are free`);
    t.equal(after!.freeBytes, 0, 'then somebody else has taken the rest');
    t.match(after!, { code: 'RDMA_ERR_STORE_FULL', accepted: [], remedy: /make room/ });
    t.strictSame(after!.otherWarnings, [], 'nothing else went wrong');
    if (elements > 50_000) t.ok(after!.fullWarnings > 0, `${after!.fullWarnings} outcomes had to wait for room`);
    t.strictSame(after!.finished.sort(), [...accepted, 'new'].sort(), 'each accepted job has its result');
  });
}

void t.test('a store that cannot be made for want of room says so', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-disk-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  if (spawnSync(APART[0]!, [...APART.slice(1), 'sh', '-c', MOUNT, 'sh', folder]).status !== 0) {
    t.pass(`skipped: ${SKIP}`, { skip: SKIP });
    return;
  }
  const jobs = join(__dirname, '../../src/ts/jobs/index.js');
  const opens = `require(${JSON.stringify(jobs)}).lmdbStore(process.argv[1]).then(() => 'open', (error) => error.code + ', ' + error.remedy).then(console.log)`;
  const words = `dd if=/dev/zero of="$1"/other bs=4096 2>&- ; "$2" -e "$3" "$1"/jobs`;
  t.match(await onSmallDisk(folder, words, process.execPath, opens), /^RDMA_ERR_STORE_FULL, make room/);
});
