// What simulated clusters have in common: a world with a store that fails, and what may happen to it and to whoever
// uses it. Not a test.
//
// Invariant: faults come by the choices of the run alone, and only until `troubleMs`. What operators have written and
// the store has forgotten they write again.
import type { PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { bytesOf } from '../../src/ts/control/store.js';
import type { Choices } from '../../src/ts/sim/choices.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import { SimWorld } from '../../src/ts/sim/world.js';
import type { SimAgent, SimCluster, SimPlace } from './cluster-parts.js';
import { SimControlServer, type StoreTrouble } from './control-store.js';

export interface TroubledShape {
  readonly leaseMs: number;
  readonly troubleMs: number;
  readonly forgets: boolean;
  readonly trouble: StoreTrouble;
  readonly faultMs: number;
}

/** What happens to any of them: one is cut off, or all but one; one is stopped, or dies; the store dies. */
export type CommonFault = 'cut' | 'stop' | 'kill' | 'store' | 'isolate';

export abstract class TroubledCluster<Shape extends TroubledShape = TroubledShape> implements SimCluster {
  readonly world: SimWorld;
  readonly server: SimControlServer;
  readonly trouble: StoreTrouble;
  readonly faults: string[] = [];

  constructor(
    readonly choices: Choices,
    readonly shape: Shape,
  ) {
    this.trouble = { ...shape.trouble };
    const options = { copier: 'process', tearShare: 0, weakOrder: false, pollBatch: 1, oneWriter: true } as const;
    this.world = new SimWorld(choices, options);
    this.server = new SimControlServer(this.world);
  }

  /** Whoever uses the store. */
  protected abstract get agents(): SimAgent[];
  /** Chooses what happens, and does it. */
  protected abstract strike(): void;
  /** Writes again what operators have written. */
  protected abstract publish(): void;
  abstract healthOf(app: string, place: string): 'well' | 'broken' | 'hangs';
  abstract onBegin(app: string, place: SimPlace, process: SimProcess): void;
  abstract onEnd(app: string, place: SimPlace, record: PlanRecord | undefined): void;

  fraction(): number {
    return this.choices.pick(2 ** 20, 'fault') / 2 ** 20;
  }

  /** What real ones go through, too. */
  failed(error: unknown): void {
    const { code } = error as { code?: string };
    if (!/^RDMA_ERR_(CONFLICT|TIMEOUT|PEER_GONE)$/.test(String(code))) this.world.caught(error);
  }

  protected write(key: string, value: Parameters<typeof bytesOf>[0] | undefined): void {
    this.server.write(key, value === undefined ? undefined : bytesOf(value), undefined, this.server.nowMs);
  }

  protected note(words: string): void {
    this.faults.push(`${this.world.scheduler.nowMs.toFixed(0)} ms: ${words}`);
  }

  protected later(ms: number, call: () => void): void {
    this.world.scheduler.add(ms, undefined, false, call);
  }

  /** Faults come from now on. */
  protected fault(): void {
    const { shape, world } = this;
    this.later(-Math.log(1 - this.fraction()) * shape.faultMs, () => {
      if (world.scheduler.nowMs >= shape.troubleMs) return;
      this.strike();
      this.fault();
    });
  }

  protected strikeCommon(fault: CommonFault, agent: SimAgent, forMs: number): void {
    const { choices, server, agents } = this;
    const words = (what: string) => this.note(`${what} for ${forMs.toFixed(0)} ms`);
    if (fault === 'cut' || fault === 'isolate') {
      const cut = fault === 'cut' ? [agent] : agents.filter((other) => other !== agent);
      words(`${cut.map(({ name }) => name).join(', ')} cut off`);
      const stores = cut.map(({ store }) => store);
      for (const store of stores) store.cut(true);
      this.later(forMs, () => {
        for (const store of stores) store.cut(false);
      });
    } else if (fault === 'stop') {
      words(`${agent.name} is stopped`);
      const { process } = agent;
      process.stop();
      this.later(forMs, () => process.continue());
    } else if (fault === 'kill') {
      if (agent.process.state === 'dead') return;
      words(`${agent.name} is dead`);
      agent.crash();
      this.later(forMs, () => {
        if (agent.process.state === 'dead') agent.start();
      });
    } else if (!server.isDown) {
      const forgetMs = this.shape.forgets && choices.chance(0.6, 'fault') ? choices.delay(0, 6000) : 0;
      words(`the server, which forgets ${forgetMs.toFixed(0)} ms, is away`);
      server.die(forgetMs);
      this.later(forMs / 2, () => {
        if (server.isDown) this.rise();
      });
    }
  }

  private rise(): void {
    this.server.rise();
    if (this.server.hasForgotten) this.publish();
  }

  /** Nothing fails any more. */
  protected heal(): void {
    this.note('all is well again');
    Object.assign(this.trouble, { late: 0, lost: 0, answerLost: 0 });
    if (this.server.isDown) this.rise();
    for (const agent of this.agents) {
      agent.process.continue();
      if (agent.process.state === 'dead') agent.start();
      agent.store.cut(false);
    }
  }
}
