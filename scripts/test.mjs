// `npm test`: builds, runs every compiled test file as its own process, then the device tests on real soft-RoCE.
//
// Invariant: what did not run to a good end is a failure. A file passes only if it exits with 0 in time, prints a whole
// TAP plan and leaves no process behind; the run passes only if something passed and nothing failed.
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect, parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(path.join(root, 'package.json'));

const softDevice = 'soft0';
const guestDevice = 'rxe0';
/**
 * A file that prints nothing for so long hangs: what takes longer says how far it is. And no file runs longer than that
 * in all.
 */
const silenceMs = 120_000;
const fileTimeoutMs = 900_000;
const guestTimeoutFactor = 6;
const guestTimeoutS = 1200;
const pairScript = 'scripts/rxe-pair.mjs';
const pairTimeoutS = 1500;
const prepareTimeoutMs = 900_000;
/** So long before a file's end tap itself gives up and names the test that hangs. */
const tapNoticeMs = 5000;
const killGraceMs = 2000;
const leftoverGraceMs = 1000;
const deviceFolders = ['addon', 'verbs', 'rdmacm', 'ring', 'pipeline', 'interop'];
const marker = 'ONEPIECE_TEST_RUN';

const usage = `Usage: npm test -- [options]

  --no-rxe           leave out the device tests on soft-RoCE in a virtual machine
  --no-build         run what is in build/ and build-test/ as it is
  --on-device NAME   run only *.device.test.js, with ONEPIECE_DEVICE=NAME, here
  --filter TEXT      only files whose path contains TEXT
  --wide             only files named *.wide.test.ts: large proofs, which a plain run leaves out
  --help             this text

Files named *.serial.test.ts run one at a time after all others.
`;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isCI = !['', '0', 'false'].includes(process.env.CI ?? '');
const totals = { passed: 0, failed: 0, skipped: 0 };
/** What failed, a block each: printed once more at the end, where whoever sees only the last lines finds it. */
const failures = [];
const failureLines = 40;
/** Process groups to end when this run is interrupted. */
const groups = new Set();

function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

const indent = (text, by) => text.trimEnd().replace(/^/gm, ' '.repeat(by));

/** One failed assertion for people: where, what, and everything else that TAP said about it. */
function describe(result) {
  const { at, stack, diff, source, ...rest } = result.diag ?? {};
  const place = at?.fileName ? ` (${at.fileName}:${at.lineNumber}:${at.columnNumber})` : '';
  const lines = [`not ok: ${result.fullname || result.name || 'unnamed'}${place}`];
  if (diff) lines.push(indent(diff, 2));
  if (Object.keys(rest).length > 0)
    lines.push(indent(inspect(rest, { depth: 6, breakLength: 110, maxStringLength: 2000 }), 2));
  if (source) lines.push(indent(source, 2));
  if (stack) lines.push(indent(stack, 2));
  return lines.join('\n');
}

/** Follows a TAP stream; the counts are of leaf assertions. */
function readTap(Parser) {
  const seen = {
    passed: 0,
    failed: 0,
    skipped: 0,
    reasons: new Set(),
    failures: [],
    plan: undefined,
    results: undefined,
  };
  const follow = (parser) => {
    let child;
    parser.on('child', (inner) => {
      child = { before: seen.passed + seen.failed + seen.skipped, failed: seen.failed };
      follow(inner);
    });
    parser.on('assert', (result) => {
      const subtest = child;
      child = undefined;
      const counted = subtest !== undefined && seen.passed + seen.failed + seen.skipped > subtest.before;
      if (result.skip || result.todo) {
        if (counted && result.ok) return;
        const kind = result.skip ? 'skip' : 'todo';
        seen.skipped++;
        seen.reasons.add(`${result.name}: ${result[kind] === true ? kind : result[kind]}`);
      } else if (result.ok) {
        if (!counted) seen.passed++;
      } else if (!subtest || seen.failed === subtest.failed) {
        seen.failed++;
        seen.failures.push(describe(result));
      }
    });
    parser.on('bailout', (reason) => {
      if (parser !== top) return;
      seen.failed++;
      seen.failures.push(`Bail out! ${reason}`);
    });
  };
  const top = new Parser((results) => {
    seen.results = results;
  });
  top.on('plan', (plan) => {
    seen.plan = plan;
  });
  follow(top);
  return { top, seen };
}

/** The live processes that the run started: by session, by group, or by the mark in their environment. */
function findProcesses(pid, mark) {
  const found = [];
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, , group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state === 'Z' || state === 'X') continue;
      const ours =
        Number(group) === pid ||
        Number(session) === pid ||
        fs.readFileSync(`/proc/${name}/environ`, 'latin1').includes(`${marker}=${mark}`);
      if (!ours) continue;
      const command = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      found.push({ pid: Number(name), command: command || stat.slice(0, stat.lastIndexOf(')') + 1) });
    } catch {
      // It ended meanwhile, or belongs to somebody else.
    }
  }
  return found;
}

/** Waits a moment for the processes of a finished file to be gone; kills and answers those that stay. */
async function reapLeftovers(pid, mark) {
  const deadline = performance.now() + leftoverGraceMs;
  let left = findProcesses(pid, mark);
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(50);
    left = findProcesses(pid, mark);
  }
  for (const { pid: leftover } of left) {
    try {
      process.kill(leftover, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  return left;
}

/**
 * Runs one compiled test file and prints its line; a failure is printed in full. `timeoutMs` is how long it may print
 * nothing.
 */
async function runFile(file, device, timeoutMs, Parser) {
  const started = performance.now();
  const mark = randomUUID();
  const tapTimeoutS = String((timeoutMs - tapNoticeMs) / 1000);
  const env = { ...process.env, ONEPIECE_DEVICE: device, TAP_TIMEOUT: tapTimeoutS, [marker]: mark };
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    cwd: root,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { top, seen } = readTap(Parser);
  // The parser invents a plan for an empty stream, so this one is looked for in what was really printed.
  const raw = [];
  const problems = [];
  const extra = [];
  const err = [];
  top.on('extra', (text) => extra.push(text));
  let heardMs = started;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    heardMs = performance.now();
    raw.push(text);
    top.write(text);
  });
  child.stderr.setEncoding('utf8').on('data', (text) => err.push(text));
  const closed = new Promise((resolve) => child.once('close', resolve));
  const ended = new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', (error) => resolve({ error }));
  });
  if (child.pid !== undefined) groups.add(child.pid);

  let timedOut = '';
  let killer;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    if (nowMs - heardMs > timeoutMs) timedOut = `printed nothing for ${timeoutMs / 1000} s and was killed`;
    else if (nowMs - started > fileTimeoutMs) timedOut = `ran for ${fileTimeoutMs / 1000} s and was killed`;
    else return;
    clearInterval(timer);
    signalGroup(child.pid, 'SIGTERM');
    killer = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), killGraceMs);
  }, 500);
  const { code, signal, error } = await ended;
  clearInterval(timer);
  clearTimeout(killer);

  if (error) problems.push(`could not be started: ${error.message}`);
  else {
    const leftovers = await reapLeftovers(child.pid, mark);
    if (leftovers.length > 0 && !timedOut) {
      const list = leftovers.map((left) => `  ${left.pid} ${left.command}`).join('\n');
      problems.push(`left processes behind (killed now):\n${list}`);
    }
    await Promise.race([closed, sleep(killGraceMs)]);
    groups.delete(child.pid);
  }
  child.stdout.removeAllListeners('data');
  top.end();

  if (timedOut) problems.push(timedOut);
  else if (signal) problems.push(`was ended by ${signal}`);
  else if (code !== 0 && !error && seen.failed === 0) problems.push(`exited with ${code}`);
  const hasPlan = /^1\.\.\d/m.test(raw.join(''));
  if (!hasPlan && !timedOut && !error) problems.push('printed no TAP plan');
  else if (!seen.results?.ok && seen.failed === 0 && problems.length === 0) {
    const why = seen.results?.failures.map((failure) => failure.tapError ?? failure.fullname).filter(Boolean);
    problems.push(`its TAP is not whole: ${why?.join('; ') || 'unknown reason'}`);
  }
  if (seen.plan?.end === 0 && problems.length === 0) {
    seen.skipped++;
    seen.reasons.add(seen.plan.comment || 'the file plans no tests');
  }
  seen.failed += problems.length;
  for (const key of Object.keys(totals)) totals[key] += seen[key];

  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const counts = [`${seen.passed} passed`];
  if (seen.failed > 0) counts.push(`${seen.failed} failed`);
  if (seen.skipped > 0) counts.push(`${seen.skipped} skipped`);
  const skippedWhole = seen.failed === 0 && seen.passed === 0 ? ' # SKIP' : '';
  const name = path.relative(path.join(root, 'build-test/test'), path.resolve(root, file));
  const out = [`${seen.failed > 0 ? 'not ok' : 'ok'} - ${name}${skippedWhole} (${counts.join(', ')}, ${seconds} s)`];
  for (const reason of seen.reasons) out.push(`    skipped: ${reason}`);
  if (seen.failed > 0) {
    for (const problem of problems) out.push(indent(`${name}: ${problem}`, 4));
    for (const failure of seen.failures) out.push(indent(failure, 4));
    const printed = extra.join('').trim();
    if (printed) out.push(indent(`stdout beside TAP:\n${printed}`, 4));
    const complained = err.join('').trim();
    if (complained) out.push(indent(`stderr:\n${complained}`, 4));
    failures.push(out.join('\n').split('\n').slice(0, failureLines).join('\n'));
  }
  console.log(out.join('\n'));
}

async function runFiles(files, width, ...rest) {
  const queue = [...files];
  const worker = async () => {
    while (queue.length > 0) await runFile(queue.shift(), ...rest);
  };
  await Promise.all(Array.from({ length: Math.min(width, files.length) }, worker));
}

/** The compiled test files, relative to the root, sorted. */
function findTests(filter) {
  const directory = path.join(root, 'build-test/test');
  if (!fs.existsSync(directory)) return [];
  return fs
    .readdirSync(directory, { recursive: true })
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => path.join('build-test/test', name))
    .filter((name) => name.includes(filter))
    .sort();
}

const isWide = (file) => file.endsWith('.wide.test.js');
const isSerial = (file) => file.endsWith('.serial.test.js');
const isDevice = (file) =>
  /\.device(\.serial)?\.test\.js$/.test(file) &&
  deviceFolders.some((folder) => file.startsWith(`build-test/test/${folder}/`));

function build() {
  for (const args of [['build-native.mjs'], ['build-ts.mjs'], ['build-ts.mjs', '--test']]) {
    const [script, ...options] = args;
    const command = [path.join(root, 'scripts', script), ...options];
    const result = spawnSync(process.execPath, command, { cwd: root, stdio: 'inherit' });
    if (result.status !== 0) {
      console.log(`not ok - build: scripts/${args.join(' ')} failed`);
      totals.failed++;
      return false;
    }
  }
  return true;
}

/** Installs what the guest needs, before the build: the headers of libibverbs are among it. */
function prepareRxe() {
  const script = path.join(root, 'scripts/rxe.mjs');
  const check = spawnSync(process.execPath, [script, '--check'], { cwd: root, stdio: 'ignore', timeout: 60_000 });
  // The reason is printed later, in place of the tests that cannot run.
  if (check.status !== 0) return;
  spawnSync(process.execPath, [script, '--prepare'], { cwd: root, stdio: ['ignore', 2, 2], timeout: prepareTimeoutMs });
}

/** Runs the device tests inside the guest, relaying its lines; the guest's own summary is added to the totals. */
async function runGuest(script, filter) {
  const started = performance.now();
  const inner = ['node', 'scripts/test.mjs', '--on-device', guestDevice, '--no-build'];
  if (filter) inner.push('--filter', filter);
  console.log(`# rxe suite: *.device.test.js on ${guestDevice} in a virtual machine`);
  const args = [script, '--timeout', String(guestTimeoutS), '--', ...inner];
  const child = spawn(process.execPath, args, { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  groups.add(child.pid);
  let summary;
  const again = [];
  const relay = (stream) => {
    let rest = '';
    const say = (line) => {
      const text = line.replace(/\r/g, '');
      const match = /# (\d+) passed, (\d+) failed, (\d+) skipped\s*$/.exec(text);
      if (match) summary = match.slice(1).map(Number);
      if (again.length > 0 || text.startsWith('# once more')) again.push(`${guestDevice}: ${text}`);
      console.log(`${guestDevice}: ${text}`);
    };
    stream.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) say(line);
    });
    stream.on('end', () => rest && say(rest));
  };
  relay(child.stdout);
  relay(child.stderr);
  // The script keeps its own time; this is for the script itself hanging.
  const timer = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), (guestTimeoutS + 60) * 1000);
  const code = await new Promise((resolve) => {
    child.once('close', (status, signal) => resolve(signal ?? status));
    child.once('error', (error) => resolve(error.message));
  });
  clearTimeout(timer);
  groups.delete(child.pid);
  const [passed = 0, failed = 0, skipped = 0] = summary ?? [];
  totals.passed += passed;
  totals.failed += failed;
  totals.skipped += skipped;
  const good = code === 0 && failed === 0 && passed > 0;
  if (again.length > 0) failures.push(again.join('\n'));
  if (!good && failed === 0) {
    totals.failed++;
    const why = summary ? `passed ${passed}` : 'printed no summary';
    console.log(`    rxe suite: scripts/rxe.mjs ended with ${code}; the guest ${why}`);
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const counts = `${passed} passed, ${failed} failed, ${skipped} skipped`;
  console.log(`${good ? 'ok' : 'not ok'} - rxe suite (${counts}, ${seconds} s)`);
}

async function runRxe(filter) {
  const script = path.join(root, 'scripts/rxe.mjs');
  let reason;
  if (filter !== '' && pairScript.includes(filter)) return runPair();
  if (findTests(filter).filter(isDevice).length === 0) {
    if (filter) return;
    reason = `no *.device.test.ts under test/{${deviceFolders.join(',')}}`;
  } else if (!fs.existsSync(script)) reason = 'scripts/rxe.mjs does not exist';
  else {
    const check = spawnSync(process.execPath, [script, '--check'], { cwd: root, encoding: 'utf8', timeout: 60_000 });
    if (check.status === 0) {
      await runGuest(script, filter);
      if (filter === '') await runPair();
      return;
    }
    const said = `${check.stdout ?? ''}\n${check.stderr ?? ''}`.trim();
    reason = said.replace(/\s*\n\s*/g, '; ') || `scripts/rxe.mjs --check ended with ${check.signal ?? check.status}`;
  }
  console.log(`# SKIPPED rxe suite: ${reason}`);
  if (isCI) {
    totals.failed++;
    console.log('not ok - rxe suite: in CI (CI is set) it has to run');
  } else totals.skipped++;
}

/** RDMA between two guests; the script says each step, and at its end what failed. */
async function runPair() {
  const started = performance.now();
  console.log('# two guests: rxe from kernel to kernel');
  const args = [path.join(root, pairScript), '--timeout', String(pairTimeoutS)];
  const child = spawn(process.execPath, args, { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  groups.add(child.pid);
  let kept = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      process.stdout.write(text);
      kept += text;
    });
  }
  // The script keeps its own time; this is for the script itself hanging. The image may have to be built within.
  const timer = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), (pairTimeoutS + 60) * 1000 + prepareTimeoutMs);
  const code = await new Promise((resolve) => {
    child.once('close', (status, signal) => resolve(signal ?? status));
    child.once('error', (error) => resolve(error.message));
  });
  clearTimeout(timer);
  groups.delete(child.pid);
  const isGood = code === 0;
  totals[isGood ? 'passed' : 'failed']++;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${isGood ? 'ok' : 'not ok'} - two guests (${isGood ? '1 passed' : `ended with ${code}`}, ${seconds} s)`);
  if (!isGood)
    failures.push(
      ['two guests:', ...kept.slice(kept.lastIndexOf('FAILED')).split('\n')].slice(0, failureLines).join('\n'),
    );
}

async function main() {
  const { values } = parseArgs({
    options: {
      'no-rxe': { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      'on-device': { type: 'string' },
      filter: { type: 'string', default: '' },
      wide: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    process.exitCode = 0;
    return;
  }
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      for (const pid of groups) signalGroup(pid, 'SIGKILL');
      console.log(`# ended by ${signal}`);
      process.exit(1);
    });
  }
  const device = values['on-device'] ?? softDevice;
  const mayRunGuest = !values['no-rxe'] && !values.wide && values['on-device'] === undefined;
  if (mayRunGuest && !values['no-build']) prepareRxe();
  if (values['no-build'] || build()) {
    const { Parser } = require('tap-parser');
    const onGuest = values['on-device'] !== undefined;
    const timeoutMs = silenceMs * (onGuest ? guestTimeoutFactor : 1);
    const found = findTests(values.filter).filter((file) => !onGuest || isDevice(file));
    const files = found.filter((file) => isWide(file) === values.wide);
    console.log(`# ${files.length} test files, ONEPIECE_DEVICE=${device}`);
    const leftOut = values.wide ? 0 : found.length - files.length;
    if (leftOut > 0) console.log(`# ${leftOut} more are large proofs: npm run test:wide`);
    const width = Math.min(2, os.availableParallelism());
    await runFiles(
      files.filter((file) => !isSerial(file)),
      width,
      device,
      timeoutMs,
      Parser,
    );
    await runFiles(files.filter(isSerial), 1, device, timeoutMs, Parser);
    if (values['no-rxe']) console.log('# SKIPPED rxe suite: --no-rxe');
    else if (!onGuest && !values.wide) await runRxe(values.filter);
  }
  if (totals.passed > 0 && totals.failed === 0) process.exitCode = 0;
  if (failures.length > 0) console.log(['# once more, what failed:', ...failures].join('\n'));
  console.log(`# ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
}

// Until the end is reached the run has failed, whatever ends it.
process.exitCode = 1;
main().catch((error) => {
  console.error(error.code?.startsWith('ERR_PARSE_ARGS') ? `${error.message}\n\n${usage}` : error.stack);
});
