// Gateways that are killed and stopped at random instants, and what must be true afterwards. Not a test: chaos.test.ts
// and chaos-main.ts run it.
//
// Invariant: every job whose submit() answered has exactly one outcome, and every gateway that gives one gives that
// one; a run that fails names its seed. Only processes that were started here are signalled, each by its id.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { JobService } from '../../src/ts/jobs/index.js';
import { until, within } from '../pipeline/support.js';
import { type GatewayTask, openStore, runOne } from './gateway-main.js';
import { numberOf } from './support.js';

export interface ChaosOptions {
  kind: GatewayTask['kind'];
  place: string;
  kills: number;
  /** How many gateways run at a time. */
  gateways: number;
  leaseMs: number;
  /** Stops some of them for longer than a lease instead. */
  stops: boolean;
  seed: number;
  /** Called between two kills, for example to restart the server. */
  between?: (kill: number) => Promise<void>;
}

export interface ChaosReport {
  accepted: number;
  told: number;
  kills: number;
  stops: number;
  /** Jobs that were begun more than once. */
  repeated: number;
  /** What must not be: empty. */
  problems: string[];
}

// mulberry32 by Tommy Ettinger, in the public domain: the same instants for the same seed.
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x = (x + Math.imul(x ^ (x >>> 7), x | 61)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Gateway {
  readonly child: ChildProcess;
  readonly ready: Promise<unknown>;
  readonly ended: Promise<unknown>;

  constructor(task: GatewayTask, onLine: (words: string[]) => void) {
    const file = join(__dirname, 'gateway-main.js');
    this.child = spawn(process.execPath, [file, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = once(this.child, 'close');
    const lines = createInterface({ input: this.child.stdout! });
    this.ready = Promise.race([once(lines, 'line'), this.ended]);
    lines.on('line', (line) => onLine(line.split(' ')));
  }
}

export async function chaos(options: ChaosOptions): Promise<ChaosReport> {
  const { kind, place, kills, gateways, leaseMs, stops, between } = options;
  const random = randomOf(options.seed);
  const accepted = new Map<string, number>();
  const told = new Map<string, Set<string>>();
  let generation = 0;
  let stopped = 0;
  const onLine = ([what, id = '', value = '']: string[]) => {
    if (what === 'a') accepted.set(id, Number(value));
    else if (what === 'o') told.set(id, (told.get(id) ?? new Set()).add(value));
  };
  const jobs = (count: number) => until(`${count} accepted jobs`, () => accepted.size >= count, 60_000);
  const start = () => new Gateway({ kind, place, leaseMs, name: `g${++generation}` }, onLine);
  const running = Array.from({ length: gateways }, start);
  try {
    for (let kill = 0; kill < kills; kill++) {
      const at = Math.floor(random() * gateways);
      const { child, ready, ended } = running[at]!;
      // Often before it is ready too, but not always, or nothing is ever accepted. The kills of a slow machine wait for
      // jobs.
      if (random() < 0.8) {
        await within('a gateway', ready, 60_000);
        await jobs(kill + 1);
      }
      await sleep(random() * 150);
      if (stops && random() < 0.4) {
        stopped++;
        child.kill('SIGSTOP');
        await sleep(leaseMs * (1 + 2 * random()));
        child.kill('SIGCONT');
        await sleep(random() * 100);
      }
      child.kill('SIGKILL');
      await within('the end of a gateway', ended);
      await between?.(kill);
      running[at] = start();
    }
    await within('a gateway', running[0]!.ready, 60_000);
    await jobs(kills);
  } finally {
    for (const { child } of running) child.kill('SIGKILL');
    await Promise.all(running.map(({ ended }) => ended));
  }
  const report = await settle(options, accepted, told);
  return { accepted: accepted.size, told: told.size, kills, stops: stopped, ...report };
}

// What was not finished is finished here; then everything is looked at.
async function settle(
  options: ChaosOptions,
  accepted: ReadonlyMap<string, number>,
  told: ReadonlyMap<string, ReadonlySet<string>>,
): Promise<{ repeated: number; problems: string[] }> {
  const problems: string[] = [];
  let repeated = 0;
  const store = await openStore(options);
  let service: JobService | undefined;
  try {
    const { leaseMs } = options;
    service = await JobService.open({ store, runner: { run: runOne }, leaseMs, maxAttempts: 100 });
    for (const [id, value] of accepted) {
      try {
        const job = service.job(id);
        const result = await within(`job ${id}`, job.result(), 60_000);
        if (numberOf(result) !== value) problems.push(`${id} has the result of ${numberOf(result)}`);
        const nonces = new Set([...(told.get(id) ?? []), String(result.outputs[0]!.meta.nonce)]);
        if (nonces.size > 1) problems.push(`${id} had ${nonces.size} outcomes`);
        if ((await job.record()).attempts > 1) repeated++;
      } catch (error) {
        problems.push(`${id}: ${String(error)}`);
      }
      if (problems.length > 20) break;
    }
    for (const id of told.keys()) {
      if (!(await store.get(id))) problems.push(`${id} was accepted and is not in the store`);
    }
    const { bytes } = await store.usage();
    let sum = 0;
    for (const { request, result } of await store.list({ limit: 100_000 }))
      sum += (request?.bytes ?? 0) + (result?.bytes ?? 0);
    const open = await store.open();
    if (open.length === 0 && bytes !== sum) problems.push(`the store counts ${bytes} bytes and holds ${sum}`);
  } finally {
    await service?.close();
    await store.close();
  }
  return { repeated, problems };
}
