// Workflows that share the GPUs of one node, in virtual time: the shipped feed, policy, division of GPUs and reconcile.
// Not a test.
//
// Invariant: what was decided about GPUs is kept as JSON, as a store does, so any moment is one at which another leader
// may go on.
import { giveGpus, limited } from '../../src/ts/cluster/gpu-giving.js';
import { type KnownApp, reconcile } from '../../src/ts/cluster/reconcile.js';
import { scaledStages } from '../../src/ts/cluster/scale-feed.js';
import {
  DEFAULT_GPU_MOVES,
  type GpuEvent,
  type GpuMovePolicy,
  type GpuState,
  NO_GPU_STATE,
} from '../../src/ts/planner/index.js';
import { DECIDE_MS, ScaleWorld, type ScaleWorldOptions } from './scale-world.js';

export interface GpuWorldOptions {
  readonly gpus: number;
  /** Default: one of each. false: they are divided by what each wants. */
  readonly policy?: Partial<GpuMovePolicy> | false;
  readonly apps: readonly ScaleWorldOptions[];
}

export interface Load {
  /** Requests a second. */
  readonly rate: number;
  readonly draw?: () => number;
}

export class GpuWorld {
  readonly worlds: readonly ScaleWorld[];
  gpus: number;
  state: GpuState = NO_GPU_STATE;
  readonly events: GpuEvent[] = [];
  private readonly policy: GpuMovePolicy | false;

  constructor({ gpus, policy = {}, apps }: GpuWorldOptions) {
    this.gpus = gpus;
    this.policy = policy === false ? false : { ...DEFAULT_GPU_MOVES, ...policy };
    this.worlds = apps.map((options) => new ScaleWorld({ gpus: 1, ...options }));
  }

  get nowMs(): number {
    return this.worlds[0]!.nowMs;
  }

  /** Instances of each. */
  get counts(): number[] {
    return this.worlds.map(({ count }) => count);
  }

  /** Lets time pass, with a load for each. @param look what is done after each second */
  run(ms: number, loads: readonly Load[], look: () => void = () => {}): void {
    const endMs = this.nowMs + ms;
    while (this.nowMs < endMs) {
      for (const [i, world] of this.worlds.entries()) world.step(loads[i]!.rate, loads[i]!.draw ?? (() => 1));
      if (this.nowMs % DECIDE_MS !== 0) continue;
      this.decide();
      look();
    }
  }

  /** One round of the controller. */
  private decide(): void {
    const { worlds, state } = this;
    const gpus = Array.from({ length: this.gpus }, () => ({ memoryBytes: 2 ** 36 }));
    const nodes = [{ name: 'node', host: 'node', cores: 64, memoryBytes: 2 ** 40, gpus, run: 'run' }];
    for (const world of worlds) world.follow(new Map([[0, world.load]]), limited(world.known.app, state).wanted);
    const apps = worlds.map(({ known }) => known);
    const decided = reconcile({ apps: this.policy === false ? apps : this.give(apps, nodes, this.policy), nodes });
    for (const world of worlds) world.take(decided.get(world.app.name));
    this.check();
  }

  private give(apps: readonly KnownApp[], nodes: Parameters<typeof reconcile>[0]['nodes'], policy: GpuMovePolicy) {
    const scaledOf = ({ name }: KnownApp['app'], stage: string) => {
      const { state, decisions } = this.worlds.find(({ app }) => app.name === name)!;
      const last = decisions.findLast(({ decision }) => decision.stage === stage);
      return { memory: state.stages[stage], queued: last?.decision.event.load.queued ?? 0 };
    };
    const { state, events } = giveGpus({ apps, nodes, scaledOf }, policy, this.nowMs, this.state);
    this.state = JSON.parse(JSON.stringify(state)) as GpuState;
    this.events.push(...events);
    return apps.map((known) => ({ ...known, app: limited(known.app, state) }));
  }

  // No GPU has two processes, and nobody is below the least.
  private check(): void {
    const users = new Map<number, string>();
    for (const { app, record, count } of this.worlds) {
      for (const [place, { gpus }] of Object.entries(record?.assignments ?? {})) {
        for (const gpu of gpus) {
          const name = `${app.name}/${place}`;
          if (users.has(gpu)) throw new Error(`GPU ${gpu} has ${users.get(gpu)} and ${name}`);
          if (gpu >= this.gpus && record!.olderPlans.length === 0)
            throw new Error(`${name} has a GPU that is not there`);
          users.set(gpu, name);
        }
      }
      const [stage] = scaledStages(app);
      const least = Math.max(1, stage!.scale!.min);
      if (record?.plan !== null && record !== undefined && count < least) throw new Error(`${app.name} has ${count}`);
    }
  }
}
