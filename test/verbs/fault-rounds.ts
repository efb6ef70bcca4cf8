// Fault rounds: three processes in random traffic, of which a random one is killed or stopped at a random moment. What
// has to hold is looked at in each round:
//  - whoever was connected to a killed process hears of it within a second, by an event and by "retry exceeded";
//  - memory that was revoked, by destroying the queue pair and deregistering, changes in no byte any more, also when a
//    process that was stopped in the middle of a copy goes on;
//  - what two living processes do to each other succeeds, and is counted the same by both;
//  - nothing is left behind: descriptors and mappings are as many as before.
// Invariant: a failure names the seed of its round, and that seed alone chooses victim, fault, moment, sizes and
// traffic.
import type { ChildProcess } from 'node:child_process';
import { readdirSync } from 'node:fs';
import {
  clockMs,
  type Counts,
  type Order,
  type Plan,
  planRound,
  type Revoked,
  type Socket,
  type Usage,
  WORKERS,
} from './fault-plan.js';
import { haveThreadsStopped } from '../stopped.js';
import { ended, startHelper, until } from './support.js';

const patienceMs = 30_000;

export interface Summary {
  rounds: number;
  kills: number;
  stops: number;
  operations: number;
  /** Regions in which a process stood when they were revoked. */
  busy: number;
  revoked: number;
  canaryMib: number;
  /** The longest time until the survivors learned of a death. */
  slowestMs: number;
}

export interface RoundOptions {
  /** Of the first round; each next one has the next. */
  seed: number;
  /** How many at most. */
  rounds: number;
  /** Ends after the round in which this time has passed. */
  minutes?: number;
  onRound?: (plan: Plan, summary: Summary) => void;
}

class Worker {
  readonly child: ChildProcess;
  private stderr = '';
  before: Usage | undefined;

  private constructor() {
    this.child = startHelper('fault-worker');
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
  }

  static async start(): Promise<Worker> {
    const worker = new Worker();
    worker.before = await worker.answer<Usage>();
    return worker;
  }

  /** The next answer; fails when none comes, or a failure, or the end. */
  private answer<T>(what = 'start'): Promise<T> {
    const { child } = this;
    return new Promise<T>((resolve, reject) => {
      const done = (error?: Error, value?: T) => {
        clearTimeout(timer);
        child.off('message', onMessage);
        child.off('exit', onExit);
        if (error) reject(error);
        else resolve(value as T);
      };
      const onMessage = (message: { answer?: T; failed?: string }) =>
        message.failed === undefined ? done(undefined, message.answer) : done(new Error(message.failed));
      const onExit = (code: number | null, signal: string | null) =>
        done(new Error(`a process ended with ${code ?? signal} at "${what}"\n${this.stderr}`));
      const timer = setTimeout(() => done(new Error(`a process does not answer "${what}"`)), patienceMs);
      child.on('message', onMessage).on('exit', onExit);
    });
  }

  ask<T>(order: Order): Promise<T> {
    const answer = this.answer<T>(order.do);
    this.child.send(order);
    return answer;
  }

  async stop(): Promise<void> {
    this.child.kill('SIGSTOP');
    await until('the process is stopped', () => haveThreadsStopped(this.child.pid!));
  }

  async kill(): Promise<void> {
    const end = ended(this.child);
    this.child.kill('SIGKILL');
    await end;
  }
}

/** What the device's memory is called; it must never have a name in the file system. */
function litter(): string[] {
  const found: string[] = [];
  for (const folder of ['/dev/shm', '/tmp', '/run']) {
    for (const name of readdirSync(folder)) {
      if (/onepiece-(directory|region)/.test(name)) found.push(`${folder}/${name}`);
    }
  }
  return found;
}

function must(good: boolean, what: string): void {
  if (!good) throw new Error(what);
}

async function runRound(workers: Worker[], plan: Plan, summary: Summary): Promise<void> {
  const all = <T>(make: (self: number) => Order, which: number[] = [0, 1, 2]) =>
    Promise.all(which.map((self) => workers[self]!.ask<T>(make(self))));
  const { victim, fault } = plan;
  const survivors = [0, 1, 2].filter((self) => self !== victim);
  // sockets[i][j]: of process i, for process j
  const sockets = await all<Socket[][]>((self) => ({ do: 'setup', plan, self }));
  await all((self) => ({ do: 'connect', sockets: sockets.map((of) => of[self]!) }));
  await all(() => ({ do: 'run' }));
  await new Promise((resolve) => setTimeout(resolve, plan.delayMs));

  if (fault === 'kill') {
    const killedAtMs = clockMs();
    await workers[victim]!.kill();
    summary.kills++;
    const times = await all<number>(() => ({ do: 'hear of death', peer: victim, killedAtMs }), survivors);
    summary.slowestMs = Math.max(summary.slowestMs, ...times);
  } else {
    await workers[victim]!.stop();
    summary.stops++;
  }
  const results = await all<Revoked>(() => ({ do: 'revoke', peer: victim }), survivors);
  for (const { revoked, busy } of results) {
    summary.revoked += revoked;
    summary.busy += busy;
    must(fault !== 'kill' || busy === 0, 'a dead process holds up a region');
  }
  if (fault === 'stop and continue') workers[victim]!.child.kill('SIGCONT');
  if (fault === 'stop and kill') {
    await workers[victim]!.kill();
    summary.kills++;
  }
  await all(() => ({ do: 'settle', peer: victim }), survivors);

  const left = fault === 'stop and continue' ? [0, 1, 2] : survivors;
  await all(() => ({ do: 'drain', gone: victim }), left);
  const counts = await all<Counts>(() => ({ do: 'count' }), survivors);
  for (const [i, self] of survivors.entries()) {
    summary.operations += counts[i]!.operations;
    const peer = survivors[1 - i]!;
    const theirs = counts[1 - i]!;
    must(
      counts[i]!.added[peer] === theirs.found[self],
      `${counts[i]!.added[peer]} atomic additions succeeded, and ${theirs.found[self]} are found`,
    );
    must(
      counts[i]!.sent[peer] === theirs.received[self],
      `${counts[i]!.sent[peer]} messages were sent, and ${theirs.received[self]} received`,
    );
  }
  const usages = await all<Usage>(() => ({ do: 'close' }), left);
  for (const [i, self] of left.entries()) {
    const { before } = workers[self]!;
    const usage = usages[i]!;
    for (const what of ['descriptors', 'mappings'] as const) {
      must(usage[what] === before![what], `process ${self} has ${usage[what]} ${what}, and had ${before![what]}`);
    }
    summary.canaryMib += (usage.canaryBytes - before!.canaryBytes) / 2 ** 20;
    before!.canaryBytes = usage.canaryBytes;
  }
  must(litter().length === 0, `left behind: ${litter().join(', ')}`);
}

/**
 * Runs fault rounds until one fails.
 *
 * @returns what was done
 * @throws Error that names the seed of the round which failed
 */
export async function runRounds({ seed, rounds, minutes = Infinity, onRound }: RoundOptions): Promise<Summary> {
  const summary: Summary = {
    rounds: 0,
    kills: 0,
    stops: 0,
    operations: 0,
    busy: 0,
    revoked: 0,
    canaryMib: 0,
    slowestMs: 0,
  };
  const deadline = clockMs() + minutes * 60_000;
  const workers: Worker[] = [];
  try {
    for (let n = 0; n < rounds && clockMs() < deadline; n++) {
      const plan = planRound(seed + n);
      try {
        for (let self = 0; self < WORKERS; self++) {
          const { child } = workers[self] ?? {};
          if (!child || child.exitCode !== null || child.signalCode !== null) workers[self] = await Worker.start();
        }
        await runRound(workers, plan, summary);
      } catch (error) {
        const words = `round with seed ${plan.seed} (${plan.fault} of process ${plan.victim} after ${plan.delayMs} ms)`;
        const replay = `npm run soak -- --seed ${plan.seed} --rounds 1`;
        throw new Error(`${words}: ${(error as Error).message}\nreplay: ${replay}`, { cause: error });
      }
      summary.rounds++;
      onRound?.(plan, summary);
    }
    return summary;
  } finally {
    await Promise.all(workers.map((worker) => worker.kill()));
  }
}
