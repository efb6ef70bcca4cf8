// Measures a day of requests on a stage that is scaled, with real processes that sleep: see the usage.
//
// Invariant: requests come when they come, whatever becomes of those before them. GPU time is that of all processes
// that the stage has, from their start to their end. Prints one JSON document.
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterPipeline, Controller, deploy, listClusterEvents, NodeManager } from '../../src/ts/cluster/index.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import { type Arrival, partWithin, runStage } from '../planner/stage-model.js';
import { runProgram } from '../program.js';
import { DAY_MS, madeDay, peakHour, readDay } from './day-arrivals.js';

const usage = `Usage: node build-test/test/cluster/day-main.js [options]

  --trace FILE    arrivals of GenTD26 (arrival_s, exec_s), also gzipped: its busiest day; default: a made one
  --seed S        of the made day; default 1
  --compress N    the day takes 24 hours / N; default 60, which is 24 minutes
  --hours A-B     only these hours of it, such as 9-12; the fixed instances are still those of the day's busiest hour
  --help          this text
`;

/** In time: waited so long at most, which makes 90 s for a task of the mean length. */
const WAIT_MS = 62_000;
const SLO_MS = 90_000;
/** How long a model takes to load. */
const LOAD_MS = 20_000;
const DOWN_MS = 30_000;
const GOAL = 0.99;
const LOOK_MS = 20;

// The fewest instances that hold the goal in the busiest hour, simulated exactly.
function fixedFor(hour: readonly Arrival[]): number {
  for (let fixed = 1; ; fixed++) {
    const policy = { sloMs: SLO_MS };
    const { latenciesMs } = runStage({ arrivals: hour, untilMs: DAY_MS / 24, loadMs: 0, fixed, policy });
    const waitsMs = latenciesMs.map((ms, i) => ms - hour[i]!.serviceMs);
    if (partWithin(waitsMs, WAIT_MS) >= GOAL) return fixed;
  }
}

function hoursOf(words: string): { fromMs: number; toMs: number } {
  const [from, to] = /^\d+-\d+$/.test(words) ? words.split('-').map(Number) : [];
  if (from === undefined || to === undefined || from >= to || to > 24)
    throw new RangeError(`--hours must be two hours of the day, such as 9-12, not ${words}`);
  return { fromMs: (from * DAY_MS) / 24, toMs: (to * DAY_MS) / 24 };
}

async function main(): Promise<number> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: { trace: text, seed: text, compress: text, hours: text, help: { type: 'boolean' } },
  });
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const compress = Number(values.compress ?? 60);
  if (!(compress >= 1 && compress <= 1000)) throw new RangeError('--compress must be 1 to 1000');
  const { fromMs, toMs } = hoursOf(values.hours ?? '0-24');
  const day = values.trace === undefined ? madeDay(Number(values.seed ?? 1)) : readDay(values.trace);
  const fixed = fixedFor(peakHour(day));
  const arrivals = day
    .filter(({ atMs }) => atMs >= fromMs && atMs < toMs)
    .map(({ atMs, serviceMs }) => ({ atMs: atMs - fromMs, serviceMs }));
  Object.assign(process.env, {
    SCALING_LOAD_MS: String(LOAD_MS / compress),
    SCALING_SLO_MS: String(Math.round(SLO_MS / compress)),
    SCALING_DOWN_MS: String(Math.round(DOWN_MS / compress)),
    SCALING_EVIDENCE: '6',
    SCALING_MAX: '32',
  });
  const { elastic } = await import('./scaling-workflow.js');
  const store = memoryControlStore();
  const own = { secret: 'a secret of the measurement' };
  const controller = new Controller(store, { name: 'c', storeForgets: false });
  const has = { host: 'a', cores: 64, memoryBytes: 2 ** 34 };
  const node = await NodeManager.start(store, { name: 'a', has, ...own });
  await deploy(store, elastic);
  const pipeline = await ClusterPipeline.connect(store, { app: elastic.name, ...own });
  let instanceMs = 0;
  let most = 0;
  let lookedMs = performance.now();
  const look = setInterval(() => {
    const nowMs = performance.now();
    const count = node.processes.length;
    instanceMs += count * (nowMs - lookedMs);
    most = Math.max(most, count);
    lookedMs = nowMs;
  }, LOOK_MS);
  const waitsMs: number[] = [];
  let failed = 0;
  const beganMs = performance.now();
  const requests: Promise<void>[] = [];
  for (const { atMs, serviceMs } of arrivals) {
    await sleep(Math.max(0, beganMs + atMs / compress - performance.now()));
    const cameMs = performance.now();
    const ms = serviceMs / compress;
    const done = pipeline.run({ meta: { n: 0, ms } }).then(
      () => void waitsMs.push((performance.now() - cameMs - ms) * compress),
      () => void failed++,
    );
    requests.push(done);
    if (requests.length % 200 === 0) process.stderr.write(`${requests.length} of ${arrivals.length} requests\n`);
  }
  await Promise.all(requests);
  await sleep(Math.max(0, beganMs + (toMs - fromMs) / compress - performance.now()));
  clearInterval(look);
  const tookMs = performance.now() - beganMs;
  const mean = instanceMs / tookMs;
  const inTime = waitsMs.filter((ms) => ms <= WAIT_MS).length / arrivals.length;
  const actions = (await listClusterEvents(store)).filter(({ type }) => type === 'scale').length;
  const workMs = arrivals.reduce((sum, { serviceMs }) => sum + serviceMs, 0);
  const document = {
    ...{ schemaVersion: 1, test: 'scaling-day', trace: values.trace === undefined ? 'made' : 'file', compress },
    ...{
      hours: values.hours ?? '0-24',
      requests: arrivals.length,
      failed,
      inTime,
      fixed,
      mean,
      most,
      relative: mean / fixed,
    },
    ...{ ofWork: workMs / (toMs - fromMs) / fixed, actions, tookMs },
  };
  process.stdout.write(`${JSON.stringify(document)}\n`);
  await pipeline.close();
  await node.close();
  await controller.close();
  await store.close();
  return failed === 0 && inTime >= GOAL && document.relative <= 0.25 ? 0 : 1;
}

runProgram(main, usage);
