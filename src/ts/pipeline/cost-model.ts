// The cost of tasks, learned from finished ones: for each stage, and for each class of requests there.
//
// Invariant: an estimate comes from samples of warm instances; without those, from the spec; and only then from the
// first tasks of instances, which are slower than all others. An unknown cost is NaN, not a guess.
import type { StageSpec } from './spec.js';

/** The most classes that are told apart; what comes after them is the last one's. */
export const MAX_CLASSES = 64;
/** Class 0: requests that name no class. */
export const NO_CLASS = 0;

/** How much the newest sample counts, once there are many. */
const NEWEST = 0.05;

/** Mean and spread of a figure, in which late samples count for more. */
export class Estimate {
  count = 0;
  mean = Number.NaN;
  private variance = 0;

  add(value: number): void {
    this.count++;
    if (this.count === 1) {
      this.mean = value;
      return;
    }
    const weight = Math.max(1 / this.count, NEWEST);
    const off = value - this.mean;
    this.mean += weight * off;
    this.variance = (1 - weight) * (this.variance + weight * off * off);
  }

  /** The standard deviation; 0 before the second sample. */
  get spread(): number {
    return Math.sqrt(this.variance);
  }
}

/** Tasks of a stage that were done since the start; those that were the first of their process are not counted. */
export interface ServedTasks {
  readonly count: number;
  readonly totalUs: number;
}

/** What is known of one class at one stage; `Us` of one unit. */
export interface CostStatus {
  readonly stage: string;
  /** undefined: requests without a class. */
  readonly class: string | undefined;
  readonly samples: number;
  readonly meanUs: number;
  readonly spreadUs: number;
}

export class CostModel {
  private readonly stages: readonly StageSpec[];
  private readonly classes: string[] = ['']; // by index; the first means none
  private readonly indices = new Map<string, number>();
  private readonly units: Estimate[] = [new Estimate()]; // of the requests of each class
  private readonly warm: Estimate[][]; // of one unit, by stage and class
  private readonly tasks: Estimate[]; // of whole tasks, by stage
  private readonly cold: Estimate[]; // of whole tasks, by stage
  private readonly totalUs: Float64Array; // of warm tasks, by stage

  /** @param stages with the costs that the author expects, where there are any */
  constructor(stages: readonly StageSpec[]) {
    this.stages = stages;
    this.warm = stages.map(() => [new Estimate()]);
    this.tasks = stages.map(() => new Estimate());
    this.cold = stages.map(() => new Estimate());
    this.totalUs = new Float64Array(stages.length);
  }

  /** How many classes there are, {@link NO_CLASS} among them. */
  get classCount(): number {
    return this.classes.length;
  }

  /** The index of a class, by which its costs are found. A request of it has come. */
  classOf(name: string | undefined, units: number): number {
    let index = NO_CLASS;
    if (name !== undefined) {
      const known = this.indices.get(name);
      index = known ?? this.addClass(name);
    }
    this.units[index]!.add(units);
    return index;
  }

  private addClass(name: string): number {
    if (this.classes.length === MAX_CLASSES) return MAX_CLASSES - 1;
    const index = this.classes.length;
    this.classes.push(name);
    this.indices.set(name, index);
    this.units.push(new Estimate());
    for (const list of this.warm) list.push(new Estimate());
    return index;
  }

  /**
   * A task is done.
   *
   * @param isCold it was the first of its process
   */
  done(stage: number, costClass: number, units: number, computeUs: number, isCold: boolean): void {
    if (isCold) {
      this.cold[stage]!.add(computeUs);
      return;
    }
    this.tasks[stage]!.add(computeUs);
    this.totalUs[stage]! += computeUs;
    this.warm[stage]![costClass]!.add(computeUs / units);
  }

  /** What a unit of a class costs at a stage, in microseconds; NaN: nobody knows. */
  unitUs(stage: number, costClass: number): number {
    const own = this.warm[stage]![costClass]!;
    if (own.count > 0) return own.mean;
    const { cost } = this.stages[stage]!;
    const hint = costClass === NO_CLASS ? cost?.computeMs : cost?.unitMs?.[this.classes[costClass]!];
    if (hint !== undefined) return hint * 1000;
    // As much as the others: with as many units as requests of the class have.
    const task = this.tasks[stage]!.count > 0 ? this.tasks[stage]!.mean : (cost?.computeMs ?? Number.NaN) * 1000;
    const taskUs = Number.isNaN(task) ? this.cold[stage]!.mean : task;
    const { count, mean } = this.units[costClass]!;
    return count === 0 ? taskUs : taskUs / mean;
  }

  /** How long the first task of a process takes at a stage, in microseconds; NaN: nobody knows. */
  coldUs(stage: number): number {
    return this.cold[stage]!.mean;
  }

  /** Warm tasks of each stage since the start. */
  served(): ServedTasks[] {
    return this.tasks.map(({ count }, stage) => ({ count, totalUs: this.totalUs[stage]! }));
  }

  /** What is known, for operators. */
  status(): CostStatus[] {
    return this.warm.flatMap((list, stage) =>
      list.flatMap(({ count, mean, spread }, index) =>
        count === 0
          ? []
          : {
              stage: this.stages[stage]!.name,
              class: index === NO_CLASS ? undefined : this.classes[index]!,
              samples: count,
              meanUs: mean,
              spreadUs: spread,
            },
      ),
    );
  }
}
