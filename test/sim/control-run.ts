// Nodes that elect a leader, know each other and say where places are, in virtual time: the real Election, Members and
// Directory over a store that fails in every way.
//
// Invariant: a run depends on its seed alone. Faults end after a while, and then all must agree, soon.
import { Directory } from '../../src/ts/control/directory.js';
import { Election } from '../../src/ts/control/election.js';
import { Members, type Membership } from '../../src/ts/control/members.js';
import type { ControlPort } from '../../src/ts/control/port.js';
import type { Timers } from '../../src/ts/core/deadline.js';
import type { Choices } from '../../src/ts/sim/choices.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import { SimWorld } from '../../src/ts/sim/world.js';
import { catching } from './catching.js';
import { type Candidate, ControlRules, DRIFT, PLAN_KEY } from './control-rules.js';
import { SimControlServer, SimControlStore, type StoreTrouble } from './control-store.js';

export interface ControlShape {
  readonly nodes: number;
  readonly leaseMs: number;
  /** For how long there are faults. */
  readonly troubleMs: number;
  /** Whether the server may forget. */
  readonly forgets: boolean;
  readonly trouble: StoreTrouble;
  /** Mean time between faults, in ms. */
  readonly faultMs: number;
}

export interface ControlVerdict {
  readonly broken: string[];
  readonly steps: number;
  readonly virtualMs: number;
  readonly faults: string[];
  readonly terms: number;
  readonly plans: number;
  readonly losses: number;
  /** From the end of the faults until all agreed, in ms. */
  readonly agreedMs: number;
}

/** The shape of a seed's run. */
export function controlShapeOf(seed: number): ControlShape {
  const part = (n: number, by: number) => Math.floor(seed / by) % n;
  return {
    nodes: 2 + part(4, 1),
    leaseMs: 3000,
    troubleMs: 25_000,
    forgets: part(2, 4) === 1,
    trouble: {
      late: [0, 0.02, 0.1][part(3, 8)]!,
      lost: [0, 0.03][part(2, 3)]!,
      answerLost: [0, 0.03, 0.1][part(3, 5)]!,
    },
    faultMs: [800, 2500, 6000][part(3, 7)]!,
  };
}

/** Timers of a clock that runs at `rate`, from `originMs`. */
export function drifting(world: SimWorld, process: SimProcess, rate: number, originMs: number): Timers {
  return {
    now: () => originMs + world.scheduler.nowMs * rate,
    after: (ms, call) => {
      const event = process.later(ms / rate, call);
      return () => {
        event.cancelled = true;
      };
    },
  };
}

class Node implements Candidate {
  process!: SimProcess;
  election!: Election;
  members!: Members;
  directory!: Directory;
  store!: SimControlStore;
  membership: Membership | undefined;
  plans = 0;
  losses = 0;
  private timers!: Timers;
  /** The highest that it has told. */
  private term = 0;

  constructor(
    private readonly run: ControlRun,
    readonly name: string,
  ) {
    this.start();
  }

  start(): void {
    const { world, server, shape, rules } = this.run;
    const { name } = this;
    const process = world.process(name);
    const rate = 1 - DRIFT + 2 * DRIFT * this.run.fraction();
    const timers = drifting(world, process, rate, this.run.fraction() * 1e9);
    const port: ControlPort = {
      timers,
      id: () => `${name}-${world.identity().slice(-6)}`,
      random: () => this.run.fraction(),
    };
    const { leaseMs, forgets } = shape;
    const store = new SimControlStore(server, process, timers, this.run.trouble);
    this.process = process;
    this.timers = timers;
    this.store = store;
    this.membership = undefined;
    this.term = 0;
    this.election = new Election(store, { name, leaseMs, port, storeForgets: forgets });
    let [lastTerm, synced] = [0, false];
    this.members = new Members(store, {
      leaseMs,
      port,
      onEvent: ({ type, member }) => {
        if (type !== 'lost') return;
        this.losses++;
        rules.onLost(member, name);
      },
    });
    this.directory = new Directory(store, {
      port,
      onChange: ({ term }) => {
        if (term < lastTerm && synced) world.broken.push(`${name} saw an address go back to term ${term}`);
        [lastTerm, synced] = [term, true];
      },
    });
    rules.candidates.add(this);
    const later = (ms: number, call: () => Promise<unknown>) =>
      timers.after(ms, () => void call().catch((error) => this.onFailure(error)));
    later(1, () => this.join());
    later(50, () => this.act());
  }

  // What a node manager does: it tries until it has joined.
  private async join(): Promise<void> {
    while (this.membership === undefined) {
      try {
        this.membership = await this.members.join(this.name, { of: this.process.name });
      } catch (error) {
        this.onFailure(error);
      }
    }
  }

  // What a controller does: while it leads, it writes the plan and addresses.
  private async act(): Promise<void> {
    for (;;) {
      const { leadership } = this.election;
      this.advertise();
      if (leadership !== undefined) {
        try {
          // A store that has forgotten may have given a term twice; whoever has seen a higher one says so.
          const seen = this.members.list().map(({ data }) => (data as { term?: number }).term ?? 0);
          await leadership.raise(Math.max(...seen, 1) - 1);
          await leadership.put(PLAN_KEY, { by: this.name, number: ++this.plans });
          if (leadership.isLeading()) await this.directory.announce('stage/0', { by: this.name }, leadership.term);
        } catch (error) {
          this.onFailure(error);
          const { highest } = this.run;
          if (highest(error) > leadership.term) await leadership.raise(highest(error)).catch((e) => this.onFailure(e));
        }
      }
      await new Promise<void>((resolve) => this.timers.after(250, resolve));
    }
  }

  private advertise(): void {
    const term = this.directory.get('stage/0')?.term ?? 0;
    if (term <= this.term || this.membership === undefined) return;
    this.term = term;
    this.membership.update({ of: this.process.name, term });
  }

  private onFailure(error: unknown): void {
    const { code } = error as { code?: string };
    const isFine = /^RDMA_ERR_(CONFLICT|TIMEOUT|PEER_GONE)$/.test(String(code));
    if (!isFine) this.run.world.caught(error);
  }

  crash(): void {
    this.run.rules.candidates.delete(this);
    this.process.crash();
  }
}

class ControlRun {
  readonly world: SimWorld;
  readonly server: SimControlServer;
  readonly rules: ControlRules;
  readonly trouble: StoreTrouble;
  readonly faults: string[] = [];
  nodes: Node[] = [];

  constructor(
    readonly choices: Choices,
    readonly shape: ControlShape,
  ) {
    this.trouble = { ...shape.trouble };
    this.world = new SimWorld(choices, {
      copier: 'process',
      tearShare: 0,
      weakOrder: false,
      pollBatch: 1,
      oneWriter: true,
    });
    this.server = new SimControlServer(this.world);
    this.rules = new ControlRules(this.world, this.server);
  }

  fraction(): number {
    return this.choices.pick(2 ** 20, 'fault') / 2 ** 20;
  }

  /** The term that an address was refused for. */
  readonly highest = (error: unknown): number => Number(/under term (\d+), not/.exec(String(error))?.[1] ?? 0);

  async play(): Promise<ControlVerdict> {
    const { world, shape } = this;
    const { scheduler } = world;
    for (let i = 0; i < shape.nodes; i++) this.nodes.push(new Node(this, `node-${i}`));
    this.fault();
    let agreedMs = 0;
    await catching(world, async () => {
      await scheduler.run(() => world.broken.length > 0 || scheduler.nowMs >= shape.troubleMs, shape.troubleMs + 1e4);
      if (world.broken.length > 0) return;
      this.heal();
      const healedMs = scheduler.nowMs;
      const endMs = healedMs + 12 * shape.leaseMs;
      let nextMs = healedMs;
      const agree = () => {
        if (world.broken.length > 0) return true;
        if (scheduler.nowMs < nextMs) return false;
        nextMs = scheduler.nowMs + 20;
        return this.disagreement() === undefined;
      };
      const untilAgreed = async () => {
        if (!(await scheduler.run(agree, endMs)))
          world.broken.push(`${endMs - healedMs} ms after the last fault: ${this.disagreement()}`);
      };
      await untilAgreed();
      agreedMs = scheduler.nowMs - healedMs;
      const wait = (untilMs: number) =>
        scheduler.run(() => world.broken.length > 0 || scheduler.nowMs >= untilMs, untilMs + 1e4);
      // What was lost before may still cost a lease. Then it stays so.
      await wait(healedMs + 2 * shape.leaseMs);
      await untilAgreed();
      const { takeovers } = this.rules;
      await wait(scheduler.nowMs + 2 * shape.leaseMs);
      const why = this.disagreement();
      if (world.broken.length === 0 && why !== undefined) world.broken.push(`they agreed, and then: ${why}`);
      if (world.broken.length === 0 && this.rules.takeovers !== takeovers)
        world.broken.push('a lease changed hands though nothing happened');
    });
    const { broken } = world;
    return {
      broken,
      steps: scheduler.steps,
      virtualMs: scheduler.nowMs,
      faults: this.faults,
      terms: this.rules.takeovers,
      plans: this.nodes.reduce((sum, { plans }) => sum + plans, 0),
      losses: this.nodes.reduce((sum, { losses }) => sum + losses, 0),
      agreedMs,
    };
  }

  /** Why they do not agree; undefined when they do. */
  private disagreement(): string | undefined {
    const leaders = this.rules.acting();
    if (leaders.length !== 1) return `${leaders.length} leaders`;
    const { term } = leaders[0]!;
    const names = this.nodes.map(({ name }) => name).join();
    for (const { name, election, members, directory, membership } of this.nodes) {
      if (election.leader?.term !== term) return `${name} takes ${election.leader?.term} for the term, not ${term}`;
      const seen = members
        .list()
        .map((member) => member.name)
        .join();
      if (seen !== names) return `${name} sees ${seen}`;
      if (membership?.incarnation === undefined) return `${name} is no member`;
      for (const other of this.nodes)
        if (members.get(other.name)?.incarnation !== other.membership?.incarnation)
          return `${name} sees an old ${other.name}`;
      const address = directory.get('stage/0');
      if (address?.term !== term) return `${name} has an address of term ${address?.term}`;
    }
    return undefined;
  }

  private note(words: string): void {
    this.faults.push(`${this.world.scheduler.nowMs.toFixed(0)} ms: ${words}`);
  }

  private later(ms: number, call: () => void): void {
    this.world.scheduler.add(ms, undefined, false, call);
  }

  private get isOver(): boolean {
    return this.world.scheduler.nowMs >= this.shape.troubleMs;
  }

  private fault(): void {
    const { choices, shape, server } = this;
    this.later(-Math.log(1 - this.fraction()) * shape.faultMs, () => {
      if (this.isOver) return;
      const node = this.nodes[choices.pick(this.nodes.length, 'fault')]!;
      const forMs = choices.delay(50, 8000);
      switch (choices.pick(6, 'fault')) {
        case 0:
          this.note(`${node.name} is cut off for ${forMs.toFixed(0)} ms`);
          node.store.cut(true);
          this.later(forMs, () => node.store.cut(false));
          break;
        case 1:
          this.note(`${node.name} is stopped for ${forMs.toFixed(0)} ms`);
          node.process.stop();
          this.later(forMs, () => node.process.continue());
          break;
        case 2:
          this.note(`${node.name} dies, and starts again after ${forMs.toFixed(0)} ms`);
          this.kill(node, forMs);
          break;
        case 3:
          if (server.isDown) break;
          this.downFor(forMs / 2);
          break;
        case 4:
          if (node.process.state !== 'running') break;
          this.note(`${node.name} resigns`);
          node.process.later(0, () => void node.election.resign());
          break;
        case 5: {
          this.note(`all but ${node.name} are cut off for ${forMs.toFixed(0)} ms`);
          const others = this.nodes.filter((other) => other !== node).map(({ store }) => store);
          for (const store of others) store.cut(true);
          this.later(forMs, () => {
            for (const store of others) store.cut(false);
          });
        }
      }
      this.fault();
    });
  }

  private kill(node: Node, forMs: number): void {
    if (node.process.state === 'dead') return;
    node.crash();
    this.later(forMs, () => {
      if (node.process.state === 'dead') node.start();
    });
  }

  private downFor(forMs: number): void {
    const { server, choices, shape } = this;
    const forgetMs = shape.forgets && choices.chance(0.6, 'fault') ? choices.delay(0, 6000) : 0;
    this.note(`the server dies for ${forMs.toFixed(0)} ms and forgets ${forgetMs.toFixed(0)} ms`);
    server.die(forgetMs);
    this.later(forMs, () => server.isDown && server.rise());
  }

  private heal(): void {
    this.note('all is well again');
    Object.assign(this.trouble, { late: 0, lost: 0, answerLost: 0 });
    if (this.server.isDown) this.server.rise();
    for (const node of this.nodes) {
      node.process.continue();
      if (node.process.state === 'dead') node.start();
      node.store.cut(false);
    }
  }
}

/** Plays one run. */
export function playControl(choices: Choices, shape: ControlShape): Promise<ControlVerdict> {
  return new ControlRun(choices, shape).play();
}
