// Proves: a command whose output cannot be written ends with 1 and one line; one whose reader has left, with 0 and
// none.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { MAIN, PHOTO, scratch } from './command.js';

const folder = scratch();
copyFileSync(PHOTO, join(folder, 'photo.jpg'));

const DEMO = 'demo photo.jpg --output clip.webp --frames 2 --size 64 --steps 1';
const commands = [
  ...['--help', '--version', 'demo --help', 'bench ring-lat --help', 'devices', 'devices --json'],
  ...['doctor', 'doctor --json', DEMO, `${DEMO} --json`, 'bench deadlock --trials 2', 'pingpong --iters 10'],
  ...['bench ring-lat --size 64 --iterations 100', 'bench write-lat -s 64 -n 100'],
];

function shell(line: string): { status: number | null; stderr: string } {
  const script = line.replaceAll('onepiece', `"${process.execPath}" "${MAIN}"`);
  return spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8', timeout: 60_000 });
}

void t.test('a full disk', async (t) => {
  if (!existsSync('/dev/full')) throw new Error('this test needs /dev/full');
  for (const command of commands) {
    const { status, stderr } = shell(`onepiece ${command} > /dev/full`);
    const lines = stderr.trimEnd().split('\n');
    const failures = lines.filter((line) => /the output cannot be written: ENOSPC/.test(line));
    t.equal(status, 1, command);
    t.equal(failures.length, 1, stderr);
    t.notMatch(stderr, /^\s+at /m, 'no stack trace');
  }
});

void t.test('a reader that has left', async (t) => {
  for (const command of commands) {
    const { status, stderr } = shell(`onepiece ${command} | true; exit \${PIPESTATUS[0]}`);
    // What is written before the reader has left is not lost: the command ends as it would have.
    t.ok(status === 0 || (status === 3 && command.startsWith('doctor')), `${command}: ${status}`);
    t.notMatch(stderr, /EPIPE|^\s+at /m, 'no stack trace');
  }
});

void t.test('nobody hears why it fails', async (t) => {
  for (const where of ['/dev/full', '>(true)']) {
    const { status } = shell(`onepiece demo nope.jpg --output clip.webp 2> ${where}`);
    t.equal(status, 1, where);
  }
  t.equal(shell('onepiece frobnicate > /dev/full 2>&1').status, 2);
});
