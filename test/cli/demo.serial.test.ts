// Proves: the demo makes a clip that picture, prompt and seed change and that is otherwise the same; it survives the
// death of any stage process, and leaves nothing behind when it is ended itself.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import {
  childrenOf,
  type Ended,
  groupOf,
  onepiece,
  PHOTO,
  type Running,
  runs,
  scratch,
  start,
  until,
} from './command.js';

const folder = scratch();
const SMALL = ['--size', '128', '--frames', '6', '--steps', '4', '--json'];
// Never done before it is stopped.
const ENDLESS = ['--size', '512', '--frames', '48', '--steps', '200', '--json'];
const STAGES = ['text-encode', 'image-encode', 'diffuse', 'decode', 'assemble'];
const PROCESSES = 6;

interface Report {
  schemaVersion: number;
  device: string;
  stages: { stage: string; instances: number; tasks: number; computeMs: number; bytesIn: number; device: string }[];
  hops: { from: string; to: string; bytes: number; device: string; us: { p50: number; p99: number } }[];
  restarts: { stage: string; instance: number; reason: string }[];
  output: { path: string; bytes: number; sha256: string; frames: number };
}

function reportOf(ended: Ended): Report {
  if (ended.code !== 0) throw new Error(`exit code ${ended.code} ${ended.signal}: ${ended.stderr}`);
  return JSON.parse(ended.stdout);
}

async function clip(name: string, ...more: string[]): Promise<Report> {
  const args = ['demo', PHOTO, '--output', name, '--prompt', 'slow push in, evening light', ...SMALL, ...more];
  return reportOf(await onepiece(args, folder));
}

function noneLeft(running: Running, stages: readonly number[]): Promise<boolean> {
  return until(
    'every process has ended',
    () => {
      return groupOf(running.child.pid!).length === 0 && !stages.some(runs); // each stage has a group of its own
    },
    5000,
  );
}

void t.test('a clip comes out, and the document says what carried it', async (t) => {
  const report = await clip('a.webp');
  t.equal(report.schemaVersion, 1);
  t.strictSame(
    report.stages.map((stage) => stage.stage),
    STAGES,
  );
  for (const stage of report.stages) {
    t.equal(stage.device, 'soft0');
    t.equal(stage.tasks, stage.instances);
    t.ok(stage.bytesIn > 0 && stage.computeMs > 0);
  }
  t.ok(report.hops.every((hop) => hop.us.p50 > 0 && hop.us.p99 >= hop.us.p50));
  t.strictSame(report.restarts, []);
  const meta = await sharp(readFileSync(join(folder, 'a.webp')), { animated: true }).metadata();
  t.equal(meta.pages, 6);
  t.equal(meta.width, 128);
});

void t.test('the same again is the same; another prompt, picture or seed is not', async (t) => {
  const picture = join(folder, 'other.png');
  await sharp(PHOTO).flop().png().toFile(picture);
  const first = (await clip('b.webp')).output.sha256;
  t.equal((await clip('c.webp')).output.sha256, first);
  t.not((await clip('d.webp', '--prompt', 'pan left, night')).output.sha256, first);
  t.not((await clip('e.webp', '--seed', '2')).output.sha256, first);
  const args = ['demo', picture, '-o', 'f.webp', '-p', 'slow push in, evening light', ...SMALL];
  t.not(reportOf(await onepiece(args, folder)).output.sha256, first);
  const gif = await clip('g.gif');
  t.equal(readFileSync(join(folder, 'g.gif')).toString('latin1', 0, 6), 'GIF89a');
  t.equal(gif.output.frames, 6);
});

void t.test('--python makes the same clip, byte for byte, whatever the weather', async (t) => {
  const python = ['--python', '--interpreter', '/usr/bin/python3'];
  for (const prompt of ['slow push in, evening light', 'storm, snow, fog, vintage, shaky, roll left, sepia']) {
    const wanted = await clip('n.webp', '--prompt', prompt);
    const report = await clip('o.webp', '--prompt', prompt, ...python);
    t.equal(report.output.sha256, wanted.output.sha256, prompt);
    t.strictSame(
      report.stages.map((stage) => stage.stage),
      STAGES,
    );
  }
});

void t.test('--python says in one line what is missing, before anything is started', async (t) => {
  const before = readdirSync(folder).sort();
  for (const [interpreter, words] of [
    ['/nowhere/python', /^onepiece: \/nowhere\/python cannot be started \(ENOENT\): install Python 3\.9.*\n$/],
    ['/bin/false', /^onepiece: \/bin\/false cannot run the stages: Python 3\.9 or later is needed\n$/],
  ] as const) {
    const ended = await onepiece(['demo', PHOTO, '-o', 'p.webp', '--python', '--interpreter', interpreter], folder);
    t.equal(ended.code, 1);
    t.match(ended.stderr, words);
  }
  const alone = await onepiece(['demo', PHOTO, '-o', 'p.webp', '--interpreter', 'python3'], folder);
  t.equal(alone.code, 2);
  t.strictSame(readdirSync(folder).sort(), before);
});

void t.test('two demos at the same time both work', async (t) => {
  const reports = await Promise.all([clip('h.webp'), clip('i.webp')]);
  t.equal(reports[0]?.output.sha256, reports[1]?.output.sha256);
});

void t.test('kill -9 of any stage process at any moment: the same clip still comes out', async (t) => {
  // Enough steps that the work is not over when the last moment comes.
  const work = ['--size', '256', '--frames', '16', '--steps', '80'];
  const whole = await clip('j.webp', ...work);
  for (let victim = 0; victim < PROCESSES; victim++) {
    const running = start(
      ['demo', PHOTO, '-o', 'k.webp', '-p', 'slow push in, evening light', ...SMALL, ...work],
      folder,
    );
    const pids = await until(
      'all stages run',
      () => {
        const pids = childrenOf(running.child.pid!);
        return pids.length === PROCESSES && pids;
      },
      30_000,
    );
    await new Promise((resolve) => setTimeout(resolve, victim * 150));
    process.kill(pids.sort((a, b) => a - b)[victim]!, 'SIGKILL');
    const report = reportOf(await running.ended);
    t.equal(report.output.sha256, whole.output.sha256);
    t.strictSame(
      report.restarts.map((restart) => restart.reason),
      ['signal SIGKILL'],
    );
    t.ok(await noneLeft(running, pids));
  }
});

void t.test('a killed demo leaves no process, no file and no shared memory', async (t) => {
  const shm = readdirSync('/dev/shm').sort();
  const files = readdirSync(folder).sort();
  for (const delayMs of [0, 300, 900]) {
    const running = start(['demo', PHOTO, '-o', 'l.webp', ...ENDLESS], folder);
    await until('stages run', () => childrenOf(running.child.pid!).length > 2, 30_000);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    const stages = childrenOf(running.child.pid!);
    process.kill(running.child.pid!, 'SIGKILL');
    t.equal((await running.ended).signal, 'SIGKILL');
    t.ok(await noneLeft(running, stages));
  }
  t.strictSame(readdirSync('/dev/shm').sort(), shm);
  t.strictSame(readdirSync(folder).sort(), files);
});

void t.test('Ctrl-C ends it with code 130, and leaves no process and no file', async (t) => {
  const before = readdirSync(folder).sort();
  for (const delayMs of [0, 600]) {
    const running = start(['demo', PHOTO, '-o', 'm.webp', ...ENDLESS], folder);
    await until('stages run', () => childrenOf(running.child.pid!).length > 2, 30_000);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    const stages = childrenOf(running.child.pid!);
    process.kill(-running.child.pid!, 'SIGINT');
    const ended = await running.ended;
    t.equal(ended.code, 130);
    t.equal(ended.stdout, '');
    t.equal(ended.stderr, '');
    t.ok(await noneLeft(running, stages));
  }
  t.strictSame(readdirSync(folder).sort(), before);
});
