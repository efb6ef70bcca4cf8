// The plans of a pipeline on this host, one after the other.
//
// Invariant: requests are admitted under a plan after all of its places work under it, and its places let go of an
// older one after its last request. There is one change at a time; a failed change leaves the former instances, under a
// plan with a number of its own.
import { RdmaError } from '../core/errors.js';
import { memoryNeeds, checkMemory, type PipelineMemory } from './memory-needs.js';
import { type Gateway, graphOf, makePlan, type Plan, stagePlaces, type WorkflowSpec } from '../pipeline/index.js';
import type { Places } from './places.js';
import type { Reservations } from './reservations.js';
import type { Waiters } from './waiters.js';

const START_REMEDY =
  'raise startTimeoutMs if the stages need longer to load; `npx onepiece doctor` reports limits that are too low';

/** What plans are changed with. */
export interface PlanChangesParts {
  spec: WorkflowSpec;
  gateway: Gateway;
  places: Places;
  waiters: Waiters;
  reservations: Reservations;
  /** How long new instances may take, in ms. */
  startTimeoutMs: number;
}

export class PlanChanges {
  /** The newest. */
  plan: Plan;
  /** Plans before that one under which requests may be. */
  olderPlans: Plan[] = [];
  /** What the newest plan reserves. */
  memory: PipelineMemory;
  private readonly parts: PlanChangesParts;
  private last: Promise<unknown> = Promise.resolve();

  /** @throws RdmaError ENOMEM, RDMA_ERR_NO_DEVICE when there is not what the plan needs */
  constructor(parts: PlanChangesParts, plan: Plan) {
    this.parts = parts;
    this.plan = plan;
    this.memory = this.memoryOf(plan);
    checkMemory(this.memory);
    parts.reservations.take(plan);
  }

  /** Waits until every place of the newest plan works under it. @throws as Waiters.until; why a place never will */
  whenReady(): Promise<void> {
    const { places, waiters, startTimeoutMs } = this.parts;
    return waiters.until(
      () => places.lateFor(this.plan).length === 0,
      startTimeoutMs,
      () => {
        const late = places.lateFor(this.plan).map(({ name, progress }) => `${name} (${progress})`);
        const words = `after ${startTimeoutMs} ms not ready: ${late.join(', ')}`;
        return new RdmaError('RDMA_ERR_TIMEOUT', words, { remedy: START_REMEDY });
      },
    );
  }

  /**
   * Gives a stage another number of instances, after all changes before this one.
   *
   * @param stage its index
   * @throws as LocalPipeline.scale
   */
  change(stage: number, count: number): Promise<void> {
    const change = this.last.then(() => this.changeNow(stage, count));
    this.last = change.catch(() => {});
    return change;
  }

  private async changeNow(stage: number, count: number): Promise<void> {
    const { waiters } = this.parts;
    waiters.check();
    const { instances } = this.plan;
    const wanted = instances.map((list, i) => (i === stage ? Array.from({ length: count }, (_, n) => n) : list));
    if (instances[stage]!.length !== count) this.next(wanted);
    try {
      await this.settle();
    } catch (error) {
      waiters.check();
      // Nothing was admitted under a plan that not all places have.
      if (this.plan.instances !== instances) await this.rollBack(instances);
      throw error;
    }
  }

  private next(instances: readonly (readonly number[])[]): void {
    const old = this.plan;
    const plan = makePlan(this.parts.spec, old.number + 1, instances, old.gateways);
    const memory = this.memoryOf(plan);
    checkMemory(memory, this.memory);
    this.parts.reservations.take(plan);
    this.plan = plan;
    this.memory = memory;
    // More than one when a change before did not come to its end.
    this.olderPlans = [...this.olderPlans, old];
    this.parts.places.startMissing(stagePlaces(plan));
    this.parts.places.tell({ type: 'adopt', plan }, 'ready');
  }

  private memoryOf(plan: Plan): PipelineMemory {
    return memoryNeeds(graphOf(this.parts.spec), plan, this.parts.gateway.sizes);
  }

  // Waits for the newest plan, and lets go of all others.
  private async settle(): Promise<void> {
    const { gateway, places } = this.parts;
    if (this.olderPlans.length === 0) return;
    await this.whenReady();
    await gateway.adopt(this.plan);
    for (const { number } of this.olderPlans) await gateway.retire(number);
    const retired = this.olderPlans;
    this.olderPlans = [];
    for (const { number } of retired) places.tell({ type: 'retire', number });
    await places.endOthers(stagePlaces(this.plan));
    this.parts.reservations.keepOnly(this.plan);
  }

  private async rollBack(instances: readonly (readonly number[])[]): Promise<void> {
    const failed = this.plan;
    this.next(instances);
    this.olderPlans = this.olderPlans.filter((plan) => plan !== failed);
    await this.parts.places.endOthers(stagePlaces(this.plan));
    this.parts.reservations.keepOnly(this.plan);
    try {
      await this.settle();
    } catch {
      return; // The next change begins there; the caller gets the error of the first one.
    }
    this.parts.places.tell({ type: 'retire', number: failed.number });
  }
}
