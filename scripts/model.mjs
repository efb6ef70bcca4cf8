// `npm run model`: checks the Promela model of the ring protocol (test/model, docs/ring-model.md) with spin,
// exhaustively.
//
// Invariant: a configuration passes only if pan has searched all of its states and said so; a negative control passes
// only if it fails with the one property that it is expected to break. Every search has bounds on memory, depth and
// time.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { configurations } from './model-configurations.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const model = path.join(root, 'test/model/ring.pml');
const memoryMiB = { ordinary: 1536, large: 8192 };
const maxDepth = { ordinary: 400_000, large: 4_000_000 };
const timeoutMs = { ordinary: 100_000, large: 3_600_000 };

const groups = ['safety', 'liveness', 'controls'];
const groupOf = ({ expect = 'clean', liveness }) =>
  expect !== 'clean' ? 'controls' : liveness ? 'liveness' : 'safety';

const usage = `Usage: npm run model -- [options]

  --large        the configurations that take minutes and gigabytes as well
  --group NAME   only these: ${groups.join(', ')}
  --part I/N     only the I-th of N parts of these, taken in turns
  --filter TEXT  only configurations whose name contains TEXT
  --jobs N       searches at a time; default: the number of processors, at most 2
  --json         one JSON document instead of lines
  --keep         keep the folder with pan and the trails even when all is well
  --list         print the configurations with their switches, and check nothing
  --help         this text

Exit code: 0 all as expected, 1 not, 2 usage, 3 spin or gcc is missing (Debian: apt-get install spin gcc libc6-dev).
`;

const children = new Set();

/** Runs a program to its end; answers its output, and what ended it. */
function run(file, args, cwd, limitMs) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, limitMs);
    const end = (code) => {
      clearTimeout(timer);
      children.delete(child);
      resolve({ code, output, timedOut });
    };
    child.once('error', (error) => end(error.message));
    child.once('close', (code, signal) => end(signal ?? code));
  });
}

/** What pan found: `clean`, or the property that does not hold; undefined when the search was not complete. */
function verdict(output) {
  const assertion = /assertion violated \(*(\w+)\s*\|\|/.exec(output);
  if (assertion) return assertion[1];
  if (/acceptance cycle/.test(output)) return 'always_served';
  const incomplete = /max search depth too small|Search not completed|out of memory|reached -DMEMLIM|error:/i.test(
    output,
  );
  if (incomplete || !/errors: 0\b/.test(output)) return undefined;
  return 'clean';
}

const number = (pattern, output) => Number(pattern.exec(output)?.[1] ?? Number.NaN);

async function check(configuration, folder) {
  const { name, switches, liveness = false, ignoreAssertions = false, expect = 'clean', large = false } = configuration;
  const size = large ? 'large' : 'ordinary';
  const flags = [...switches, ...(liveness ? ['LIVENESS'] : [])].map((each) => `-D${each}`);
  const cwd = path.join(folder, name);
  fs.mkdirSync(cwd, { recursive: true });
  const started = performance.now();
  const problem = (why, output) => ({ name, expect, ok: false, why, output });

  const generated = await run('spin', ['-a', ...flags, model], cwd, 60_000);
  if (generated.code !== 0) return problem('spin does not accept the model', generated.output);
  const kind = liveness ? ['-DNFAIR=4'] : ['-DSAFETY'];
  // A control fails at once: there the compiler would take longer than the search.
  const optimise = large ? '-O2' : expect === 'clean' ? '-O1' : '-O0';
  // Exhaustive: neither bitstate (-DBITSTATE) nor hash compaction (-DHC).
  const defines = [...kind, '-DVECTORSZ=2048', `-DMEMLIM=${memoryMiB[size]}`];
  const compiled = await run('gcc', [optimise, '-w', ...defines, '-o', 'pan', 'pan.c'], cwd, 120_000);
  if (compiled.code !== 0) return problem('gcc does not compile pan', compiled.output);
  const search = liveness ? ['-a', '-f', ...(ignoreAssertions ? ['-A'] : [])] : [];
  const { output, timedOut, code } = await run('./pan', [`-m${maxDepth[size]}`, ...search], cwd, timeoutMs[size]);
  if (timedOut) return problem(`not finished after ${timeoutMs[size] / 1000} s`, output);
  const found = verdict(output);
  if (found === undefined) return problem(`the search is not complete (pan ended with ${code})`, output);

  const result = {
    name,
    expect,
    found,
    ok: found === expect,
    states: number(/([\d.e+]+) states, stored/, output),
    depth: number(/depth reached (\d+)/, output),
    seconds: (performance.now() - started) / 1000,
    trail: undefined,
    replay: undefined,
  };
  const trail = path.join(cwd, 'ring.pml.trail');
  if (fs.existsSync(trail)) {
    const replay = ['-t', '-k', trail, ...flags, '-p', '-g', model];
    result.replay = `spin ${replay.join(' ')}`;
    if (!result.ok) result.trail = (await run('spin', replay, cwd, 60_000)).output;
  }
  return result;
}

/** The steps of a trail in short: who did what, without the statements inside of a step. */
function steps(trail) {
  const lines = trail.split('\n').filter((line) => /^\s*\d+:\s+proc/.test(line) || /CYCLE/.test(line));
  const seen = new Set();
  return lines.filter((line) => {
    const step = /^\s*(\d+):/.exec(line)?.[1];
    if (step === undefined) return true;
    if (seen.has(step)) return false;
    seen.add(step);
    return true;
  });
}

function line(result) {
  const word = result.expect === 'clean' ? 'holds' : `breaks ${result.expect}`;
  const head = `${result.ok ? 'ok' : 'not ok'} - ${result.name.padEnd(30)} `;
  if (result.why !== undefined) return `${head}${result.why}`;
  const figures = `${result.states} states, depth ${result.depth}, ${result.seconds.toFixed(1)} s`;
  const found = result.ok ? '' : `, but ${result.found === 'clean' ? 'nothing is broken' : `breaks ${result.found}`}`;
  return `${head}${word}${found} (${figures})`;
}

function report(result) {
  console.log(line(result));
  if (result.ok) return;
  if (result.output) console.log(result.output.trimEnd().replace(/^/gm, '    '));
  if (result.trail) console.log(steps(result.trail).slice(-60).join('\n'));
  if (result.replay) console.log(`    replay: ${result.replay}`);
}

function missing(program) {
  return spawnSync(program, [program === 'spin' ? '-V' : '--version'], { stdio: 'ignore' }).error !== undefined;
}

async function main() {
  const { values } = parseArgs({
    options: {
      large: { type: 'boolean', default: false },
      group: { type: 'string' },
      part: { type: 'string', default: '1/1' },
      filter: { type: 'string', default: '' },
      jobs: { type: 'string', default: String(Math.min(2, os.availableParallelism())) },
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const jobs = Number(values.jobs);
  const { group } = values;
  const wanted = (each) =>
    each.name.includes(values.filter) && (values.large || !each.large) && (group ?? groupOf(each)) === groupOf(each);
  const [part, parts] = values.part.split('/').map(Number);
  if (!Number.isInteger(part) || !Number.isInteger(parts) || part < 1 || part > parts) {
    process.stderr.write(`--part takes I/N, I from 1 to N\n\n${usage}`);
    return 2;
  }
  const chosen = configurations.filter(wanted).filter((_, i) => i % parts === part - 1);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 64 || chosen.length === 0) {
    const why = chosen.length === 0 ? 'no configuration has that name and group' : '--jobs takes 1 to 64';
    process.stderr.write(`${why}\n\n${usage}`);
    return 2;
  }
  if (values.list) {
    for (const { name, expect = 'clean', switches, liveness } of chosen) {
      const flags = [...switches, ...(liveness ? ['LIVENESS'] : [])].map((each) => `-D${each}`).join(' ');
      console.log(`${name.padEnd(30)} ${expect.padEnd(14)} ${flags}`);
    }
    return 0;
  }
  const absent = ['spin', 'gcc'].filter(missing);
  if (absent.length > 0) {
    process.stderr.write(`${absent.join(' and ')} not found: apt-get install spin gcc libc6-dev\n`);
    return 3;
  }

  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'onepiece-model-'));
  let keep = values.keep;
  const end = () => {
    for (const child of children) child.kill('SIGKILL');
    if (!keep) fs.rmSync(folder, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      keep = values.keep;
      end();
      process.exit(1);
    });
  }
  const queue = [...chosen];
  const results = [];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const result = await check(next, folder);
      results.push(result);
      if (!result.ok) keep = true;
      if (!values.json) report(result);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  const failed = results.filter((result) => !result.ok).length;
  if (values.json) console.log(JSON.stringify({ schemaVersion: 1, results }, undefined, 2));
  else console.log(`# ${results.length - failed} as expected, ${failed} not`);
  if (keep && !values.json) console.log(`# kept: ${folder}`);
  end();
  return failed > 0 ? 1 : 0;
}

// Until the end is reached the run has failed, whatever ends it.
process.exitCode = 1;
main().then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    const badUsage = error.code?.startsWith('ERR_PARSE_ARGS');
    process.stderr.write(badUsage ? `${error.message}\n\n${usage}` : `${error.stack}\n`);
    if (badUsage) process.exitCode = 2;
  },
);
