// What a cluster does when a node, a worker, the leader or nats-server is taken away, or a node is drained.
//
// Invariant: each measurement begins when all is in order, and leaves it so: it starts again what it has killed.
import { setTimeout as sleep } from 'node:timers/promises';
import { drainNode } from '../../cluster/index.js';
import { RdmaError } from '../../core/errors.js';
import { round3 } from '../kit/statistics.js';
import { type BenchCluster, until } from './cluster.js';
import { ClusterLoad, type LoadFigures, nextRequest } from './load.js';
import type { ClusterRows } from './result.js';
import type { ClusterBenchSettings } from './settings.js';
import { readRuns, runsTwice } from './work.js';

const LONG_MS = 120_000;
/** How long a stage sleeps for the request whose process is killed. */
const KILLED_MS = 400;

export interface FaultContext {
  readonly cluster: BenchCluster;
  readonly settings: ClusterBenchSettings;
  readonly rows: ClusterRows;
  readonly signal: AbortSignal;
  readonly onStep: (words: string) => void;
}

const quiet = ({ cluster, signal }: FaultContext) => until('order', () => cluster.isQuiet, LONG_MS, signal);

// One that has places and does not lead: what the leader's death adds is a row of its own.
async function victimOf({ cluster, signal }: FaultContext): Promise<{ name: string; places: string[] }> {
  await until('a leader', async () => (await cluster.leader()) !== undefined, LONG_MS, signal);
  const leader = (await cluster.leader())?.name;
  const find = () => {
    const all = cluster.nodeNames.map((name) => ({ name, places: cluster.placesOn(name) }));
    return all.find(({ name, places }) => name !== leader && places.length > 0);
  };
  if (find() === undefined && leader !== undefined) {
    // What was moved stays where it is: the leader may have got all of it.
    await drainNode(cluster.control, leader);
    await until(
      'the drain of the leader',
      () => cluster.placesOn(leader).length === 0 && cluster.isQuiet,
      LONG_MS,
      signal,
    );
    await drainNode(cluster.control, leader, false);
  }
  const victim = find();
  if (victim === undefined) throw new RdmaError('RDMA_ERR_NOT_FOUND', 'no node but the leader has places');
  return victim;
}

// In each round what `measure` answers, in ms, of a cluster that is in order.
async function sample(context: FaultContext, what: string, measure: () => Promise<number>): Promise<number[]> {
  const { rounds } = context.settings;
  const samples: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    context.onStep(`${what}, ${round} of ${rounds}`);
    await quiet(context);
    samples.push(await measure());
  }
  return samples;
}

/** From the death of a node, or its stop, until every place that it had works elsewhere. */
export async function measureNode(context: FaultContext, verb: 'kill' | 'stop'): Promise<void> {
  const { cluster, settings, rows, signal } = context;
  const samples = await sample(context, `${verb} a node`, async () => {
    const { name, places } = await victimOf(context);
    const beganMs = performance.now();
    if (verb === 'kill') await cluster.killNode(name);
    else cluster.nodeSignal(name, 'SIGSTOP');
    const serveElsewhere = () => {
      const now = cluster.pipeline.status().places;
      return places.every((place) => now[place]?.node !== name && now[place]?.state === 'ready');
    };
    let ms: number;
    try {
      await until('the move of its places', serveElsewhere, LONG_MS, signal);
      ms = performance.now() - beganMs - settings.leaseMs;
    } finally {
      if (verb === 'stop') cluster.nodeSignal(name, 'SIGCONT');
    }
    if (verb === 'kill') await cluster.startNode(name);
    return ms;
  });
  const what = `a node is ${verb === 'kill' ? 'killed' : 'stopped'}: its places work elsewhere, beyond its lease`;
  rows.median({ test: `cluster-node-${verb}`, what }, samples);
}

/** From the death of a worker until its place works again. */
export async function measureStart(context: FaultContext): Promise<void> {
  const { cluster, rows, signal } = context;
  const samples = await sample(context, 'kill a worker', async () => {
    const n = nextRequest();
    await cluster.subject.call(n, 0);
    const { pid } = readRuns(cluster.runsFile).find((run) => run.n === n && run.stage === 'infer')!;
    const beganMs = performance.now();
    process.kill(pid, 'SIGKILL');
    await until('the end of a worker', () => !cluster.isQuiet, LONG_MS, signal);
    await quiet(context);
    return performance.now() - beganMs;
  });
  rows.median({ test: 'cluster-worker-start', what: 'a worker is killed: its place works again' }, samples);
}

/** What the death of the worker that has a request costs that request. */
export async function measureWorkerKill(context: FaultContext): Promise<void> {
  const { cluster, rows, signal } = context;
  const measure = () => costOfKill(cluster.subject.call, cluster.runsFile, signal);
  const samples = await sample(context, 'kill a worker at work', measure);
  const what = `a worker is killed at its work (3 stages of ${KILLED_MS} ms): the request is done later by`;
  rows.median({ test: 'cluster-worker-kill', what }, samples);
}

/** How much later a request is done since the process that runs its second stage was killed in the middle of it. */
export async function costOfKill(
  call: (n: number, ms: number) => Promise<void>,
  runsFile: string,
  signal: AbortSignal,
): Promise<number> {
  const n = nextRequest();
  const beganMs = performance.now();
  const done = call(n, KILLED_MS);
  done.catch(() => {}); // it is awaited below
  const find = () => readRuns(runsFile).find((run) => run.n === n && run.stage === 'infer');
  await until('the second stage', () => find() !== undefined, LONG_MS, signal);
  await sleep(KILLED_MS / 2);
  process.kill(find()!.pid, 'SIGKILL');
  await done;
  return performance.now() - beganMs - 3 * KILLED_MS;
}

/** From the death of the leader until another one leads. */
export async function measureLeader(context: FaultContext): Promise<void> {
  const { cluster, rows, signal } = context;
  const samples = await sample(context, 'kill the leader', async () => {
    const before = await cluster.leader();
    if (before === undefined) throw new RdmaError('RDMA_ERR_NOT_FOUND', 'nobody leads');
    const beganMs = performance.now();
    await cluster.killNode(before.name);
    const isLed = async () => ((await cluster.leader())?.term ?? 0) > before.term;
    await until('a new leader', isLed, LONG_MS, signal);
    const ms = performance.now() - beganMs;
    await cluster.startNode(before.name);
    return ms;
  });
  const what = 'the leader is killed: another one leads';
  rows.median({ test: 'cluster-leader-kill', what }, samples);
}

/** Every node is drained in turn, under load. */
export async function measureDrain(context: FaultContext): Promise<void> {
  const { cluster, settings, rows, signal, onStep } = context;
  await quiet(context);
  const before = runsTwice(cluster.runsFile);
  const load = new ClusterLoad(cluster.subject, settings.clients, settings.stageMs);
  const samples: number[] = [];
  let figures: LoadFigures | undefined;
  try {
    for (const name of cluster.nodeNames) {
      onStep(`drain ${name}`);
      const answered = load.answered + 20;
      await until('requests', () => load.answered > answered, LONG_MS, signal);
      const beganMs = performance.now();
      await drainNode(cluster.control, name);
      const isEmpty = () => cluster.placesOn(name).length === 0 && cluster.isQuiet;
      await until(`the end of work on ${name}`, isEmpty, LONG_MS, signal);
      samples.push(performance.now() - beganMs);
      await drainNode(cluster.control, name, false);
      await quiet(context);
    }
  } finally {
    figures = await load.stop();
  }
  const { failed, answered, reason } = figures;
  rows.median({ test: 'cluster-drain', what: 'a node is drained under load: it is empty' }, samples);
  const more = `of ${answered}${reason === null ? '' : `; ${reason}`}`;
  const what = `every node is drained in turn under load: failed requests, ${more}`;
  rows.add({ test: 'cluster-drain-failed', what, value: failed, unit: 'requests' });
  const twice = runsTwice(cluster.runsFile) - before;
  rows.add({ test: 'cluster-drain-twice', what: 'of them: stages run twice', value: twice, unit: 'runs' });
}

/** nats-server is killed, and comes back later, under load. */
export async function measureAway(context: FaultContext): Promise<void> {
  const { cluster, settings, rows, signal, onStep } = context;
  await quiet(context);
  const load = new ClusterLoad(cluster.subject, settings.clients, settings.stageMs);
  const rest = (seconds: number) => sleep(seconds * 1000, undefined, { signal });
  const warmUpS = 2;
  let last: LoadFigures | undefined;
  try {
    await rest(warmUpS);
    load.take();
    // As long before as while it is away: a tail needs as many requests.
    onStep(`${settings.awayS} s with nats-server`);
    await rest(settings.awayS);
    const before = load.take();
    onStep(`${settings.awayS} s without nats-server`);
    await cluster.killNats();
    await rest(settings.awayS);
    const away = load.take();
    await cluster.startNats();
    await rest(settings.leaseMs / 500);
    last = load.take();
    await quiet(context);
    const failed = before.failed + away.failed + last.failed;
    const reason = away.reason ?? last.reason;
    const more = `of ${away.answered + last.answered}${reason === null ? '' : `; ${reason}`}`;
    const what = `nats-server is away for ${settings.awayS} s under load: failed requests, ${more}`;
    rows.add({ test: 'cluster-away-failed', what, value: failed, unit: 'requests' });
    const isKnown = before.p99Ms !== null && away.p99Ms !== null;
    const value = isKnown ? round3(away.p99Ms! / before.p99Ms!) : null;
    const words = `the same: p99, ${away.p99Ms} ms to ${before.p99Ms} ms before`;
    rows.add({ test: 'cluster-away-p99', what: words, value, unit: 'ratio' });
  } finally {
    await load.stop();
  }
}
