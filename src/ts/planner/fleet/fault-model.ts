// Faults of a simulation: nodes that die, and a control store that is away.
//
// Invariant: the same seed and rates give the same faults. Tasks of a node that dies begin again, before all others.
import { exponential } from '../random.js';
import type { FaultRates } from './fleet.js';
import type { Instances } from './instances.js';
import type { Nodes, SimNode } from './nodes.js';
import type { Queues } from './queues.js';
import type { Run } from './run.js';
import type { Tasks } from './tasks.js';

export class FaultModel {
  private readonly run: Run;
  private readonly rates: FaultRates;
  private readonly draw: () => number;
  private readonly tasks: Tasks;
  private readonly nodes: Nodes;
  private readonly instances: Instances;
  private readonly queues: Queues;
  private isAway = false;

  /** @param chance the rates, and what draws from the seed */
  constructor(
    run: Run,
    chance: { readonly rates: FaultRates; readonly draw: () => number },
    tasks: Tasks,
    nodes: Nodes,
    instances: Instances,
    queues: Queues,
  ) {
    this.run = run;
    this.rates = chance.rates;
    this.draw = chance.draw;
    this.tasks = tasks;
    this.nodes = nodes;
    this.instances = instances;
    this.queues = queues;
  }

  /** The control store is away: nothing is scaled. */
  get isStoreAway(): boolean {
    return this.isAway;
  }

  begin(): void {
    const { nodeDeathsPerHour, storeOutagesPerHour } = this.rates;
    if (nodeDeathsPerHour > 0) this.deathLater();
    if (storeOutagesPerHour > 0) this.outageAfter(exponential(this.draw, 3600 / storeOutagesPerHour), true);
  }

  private deathLater(): void {
    // One clock for all nodes; a node that joins later counts from the next death on.
    const rate = (this.rates.nodeDeathsPerHour * Math.max(1, this.nodes.list.length)) / 3600;
    const { timeline } = this.run;
    timeline.add(timeline.nowS + exponential(this.draw, 1 / rate), { type: 'death' });
  }

  /** Some node dies. */
  death(): void {
    const { list } = this.nodes;
    if (list.length > 0) this.dies(list[Math.floor(this.draw() * list.length)]!);
    this.deathLater();
  }

  private dies(node: SimNode): void {
    if (node.workers.size === 0) return;
    const { pools, tally, drains } = this.run;
    tally.deaths++;
    for (const worker of [...node.workers]) {
      const pool = pools[worker.pool]!;
      const jobs = this.tasks.lose(pool, worker);
      // Where a policy acts at once, it sees that one is missing; a plan has it still, on another node.
      const isKept = !worker.isEnding && (pool.spec.fixed !== undefined || drains !== undefined);
      this.instances.remove(pool, worker);
      tally.again += jobs.length;
      for (const job of jobs) this.instances.leavePlan(job);
      if (jobs.length > 0) pool.addAgain(jobs);
      if (isKept) this.instances.start(pool);
      this.queues.refill(pool); // waiting jobs may go to other workers at once
    }
  }

  /** The control store goes away or comes back. */
  outage(begins: boolean): void {
    this.isAway = begins;
    const { storeOutageS, storeOutagesPerHour } = this.rates;
    this.outageAfter(begins ? storeOutageS : exponential(this.draw, 3600 / storeOutagesPerHour), !begins);
  }

  private outageAfter(afterS: number, begins: boolean): void {
    const { timeline } = this.run;
    timeline.add(timeline.nowS + afterS, { type: 'outage', begins });
  }
}
