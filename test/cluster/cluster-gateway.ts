// Gateways in processes of their own that share a store of jobs, and the books of what they have accepted. Not a test.
//
// Invariant: a job that submit() has answered is followed to its outcome, at another gateway when its own one dies, and
// all gateways give the same outcome. One that was not accepted when its gateway died counts for nothing.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { until } from '../pipeline/support.js';
import type { ClusterLoad } from './cluster-chaos-load.js';
import { chaosRequest } from './cluster-chaos-workflow.js';
import type { ClusterGatewayTask, JobOutcome } from './cluster-gateway-main.js';

const START_MS = 120_000;
const HANG_MS = 90_000;
const REFUSED_MS = 20;

class GatewayProcess {
  isReady = false;
  private isSilent = false;
  /** Takes what it says of itself. */
  described: ((line: string) => void) | undefined;
  /** Jobs that were given to it, and are not over. */
  readonly open = new Map<number, (line: string | undefined) => void>();
  readonly child: ChildProcess;

  constructor(task: ClusterGatewayTask) {
    const file = join(__dirname, 'cluster-gateway-main.js');
    this.child = spawn(process.execPath, [file, JSON.stringify(task)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.child.stdin!.on('error', () => {}); // it has ended: `exit` tells
    createInterface({ input: this.child.stdout! })
      .on('line', (line) => {
        if (line === 'ready') this.isReady = true;
        else if (line.startsWith('d ')) this.described?.(line);
        else this.open.get(Number(line.split(' ')[1]))?.(line);
      })
      // After its last line; whether its exit is known before or after that is chance.
      .on('close', () => {
        this.isSilent = true;
        for (const tell of [...this.open.values()]) tell(undefined);
      });
  }

  get hasEnded(): boolean {
    return this.isSilent || this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** @param tell what it says of the job, line by line; undefined: it says nothing any more */
  ask(what: 's' | 'f', n: number, tell: (line: string | undefined) => void): void {
    if (this.isSilent) tell(undefined);
    else {
      this.open.set(n, tell);
      this.child.stdin!.write(`${what} ${n}\n`);
    }
  }

  describe(n: number): void {
    this.child.stdin!.write(`d ${n}\n`);
  }
}

export class ClusterGateways {
  accepted = 0;
  private readonly outcomes = new Map<number, JobOutcome>();
  private readonly gateways: GatewayProcess[] = [];
  private readonly settled: number[] = [];
  private isStopping = false;
  private isStopped = false;
  private over: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly task: ClusterGatewayTask,
    private readonly load: ClusterLoad,
  ) {}

  /** Starts gateways, and clients that submit jobs to them. */
  async start(count: number, clients: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.add(i);
    this.over = Promise.all(Array.from({ length: clients }, (_, i) => this.client(i)));
  }

  private async add(index: number): Promise<void> {
    const gateway = new GatewayProcess(this.task);
    this.gateways[index] = gateway;
    await until('a gateway with a store', () => gateway.isReady || gateway.hasEnded, START_MS);
    if (gateway.hasEnded) throw new Error('a gateway with a store did not start');
  }

  private async client(index: number): Promise<void> {
    // Numbers that the requests beside them do not have.
    for (let n = 1_000_000 * (index + 1); !this.isStopping; n++) {
      const gateway = await this.anyone(n);
      if (gateway === undefined) return;
      this.load.begin(n);
      const isAccepted = await this.submit(gateway, n);
      this.load.end(n, isAccepted);
      if (!isAccepted) await new Promise((resolve) => setTimeout(resolve, REFUSED_MS));
    }
  }

  private async anyone(n: number): Promise<GatewayProcess | undefined> {
    const find = () => {
      const there = this.gateways.filter(({ isReady, hasEnded }) => isReady && !hasEnded);
      return there[n % Math.max(1, there.length)];
    };
    await until('a gateway with a store', () => this.isStopped || find() !== undefined, HANG_MS);
    return this.isStopped ? undefined : find();
  }

  // Whether it was accepted; then it has its outcome.
  private submit(gateway: GatewayProcess, n: number): Promise<boolean> {
    return new Promise((resolve) => {
      let isAccepted = false;
      gateway.ask('s', n, (line) => {
        if (line?.startsWith('a ')) {
          isAccepted = true;
          this.accepted++;
          return;
        }
        gateway.open.delete(n);
        if (line?.startsWith('o ')) {
          this.see(n, line);
          // Now and then another one is asked for it, too.
          if (n % 10 === 0) void this.follow(n).then(() => resolve(true));
          else resolve(true);
        } else if (isAccepted) void this.follow(n).then(() => resolve(true));
        else resolve(false);
      });
    });
  }

  // Until somebody has told its outcome.
  private async follow(n: number): Promise<void> {
    for (;;) {
      const gateway = await this.anyone(n + 1);
      if (gateway === undefined) return;
      const line = await new Promise<string | undefined>((resolve) => gateway.ask('f', n, resolve));
      gateway.open.delete(n);
      if (line !== undefined) return this.see(n, line);
    }
  }

  private see(n: number, line: string): void {
    const outcome = JSON.parse(line.slice(line.indexOf('{'))) as JobOutcome;
    const before = this.outcomes.get(n);
    this.outcomes.set(n, outcome);
    this.settled.push(n);
    if (this.settled.length > 10_000) this.outcomes.delete(this.settled.shift()!);
    if (before !== undefined && before.of !== outcome.of) {
      this.load.problem('twice', `${n}: ${JSON.stringify(before)}, and ${JSON.stringify(outcome)}`);
    } else if (outcome.error !== null) this.load.problem('lost', `${n}: ${outcome.error}`);
    else if (JSON.stringify(outcome.found) !== JSON.stringify([chaosRequest(n).result]))
      this.load.problem('wrong', `${n}: ${JSON.stringify(outcome.found)}`);
  }

  /** What each process says of itself and of the jobs that are open, for people. */
  async describe(): Promise<unknown[]> {
    const jobs = this.load.openNumbers.filter((n) => n >= 1_000_000);
    return Promise.all(
      this.gateways.map(async (gateway) => {
        const { isReady, hasEnded, open } = gateway;
        const said: string[] = [];
        if (isReady && !hasEnded) {
          gateway.described = (line) => said.push(line);
          for (const n of [...jobs, 0]) gateway.describe(n);
          await until('the descriptions', () => said.length > jobs.length || gateway.hasEnded, 5000).catch(() => {});
        }
        return { pid: gateway.child.pid, isReady, hasEnded, waitsFor: [...open.keys()], said };
      }),
    );
  }

  /** One that is there, and may be stopped or killed while another one is. */
  candidate(draw: number): number | undefined {
    const there = this.gateways.flatMap(({ isReady, hasEnded }, i) => (isReady && !hasEnded ? [i] : []));
    return there.length < 2 ? undefined : there[draw % there.length];
  }

  signal(index: number, name: 'SIGSTOP' | 'SIGCONT'): void {
    this.gateways[index]!.child.kill(name);
  }

  async kill(index: number): Promise<void> {
    const { child } = this.gateways[index]!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Starts another one in the place of one that was killed. */
  async replace(index: number): Promise<void> {
    await this.add(index);
  }

  /** No new jobs. Waits until the accepted ones have ended, or notes that they hang. */
  async stop(): Promise<void> {
    this.isStopping = true;
    const isOver = this.over.then(() => true);
    let isDone = false;
    void isOver.then(() => {
      isDone = true;
    });
    await until('the last jobs', () => isDone || !this.load.isSound, HANG_MS).catch(() => this.load.hangs());
    this.isStopped = true;
  }

  /** Kills all of them. */
  async end(): Promise<void> {
    this.isStopping = true;
    this.isStopped = true;
    for (const { child } of this.gateways) child.kill('SIGCONT');
    await Promise.all(this.gateways.map((_, index) => this.kill(index)));
  }
}
