// The expectations of a gateway: the costs of its requests, the work under way, and when a newcomer will be done.
//
// Invariant: the units under way at a stage are those of requests that were sent and are not done there. The errors of
// recent forecasts correct a new one, and give its margin.
import type { Admission, AdmittedRequest } from './admission.js';
import { CostModel, type CostStatus, Estimate, MAX_CLASSES, type ServedTasks } from './cost-model.js';
import { type Forecast, forecast, longestPathUs, type StageAhead } from './forecast.js';
import type { UnitsByClass } from './request-queue.js';
import type { Graph } from './routing.js';

/** Of so many requests one may be later than forecast and margin say. */
const ONE_OF = 1000;
/** How far the margin moves with a request that was, as a share of the forecast; with the others it moves back. */
const MARGIN_STEP = 0.04;
/** A correction and a margin are no larger than these shares of the forecast: errors must not lock the door. */
const MOST_CORRECTION = 0.25;
const MOST_MARGIN = 0.5;
const FIRST_MARGIN = 0.1;

/** The cost of a request, as far as it decides what the others wait for. */
export interface Cost {
  readonly costClass: number;
  readonly units: number;
}

/** A forecast with what it may be off. Microseconds. */
export interface Expectation extends Forecast {
  /** What the request takes alone and what it waits, uncorrected: with it the next forecasts are corrected. */
  readonly rawUs: number;
  /** How much later it may be, with few exceptions. */
  readonly marginUs: number;
}

export class Forecaster {
  readonly costs: CostModel;
  private readonly graph: Graph;
  private readonly admission: Admission;
  private readonly underWay: UnitsByClass[]; // by stage
  private readonly errors = new Estimate(); // actual minus uncorrected, in microseconds
  private readonly relative = new Estimate(); // |actual - expected| / actual
  private margin = FIRST_MARGIN; // share of a forecast; few requests are later than that
  private readonly hops: number; // of the longest path

  constructor(graph: Graph, admission: Admission) {
    this.graph = graph;
    this.admission = admission;
    this.costs = new CostModel(graph.spec.stages);
    this.underWay = graph.spec.stages.map(() => new Float64Array(MAX_CLASSES));
    this.hops = longestPathUs(graph.before, () => 1) + 1;
  }

  /** A request goes to its places. */
  sent({ costClass, units }: Cost): void {
    for (const list of this.underWay) list[costClass] = list[costClass]! + units;
  }

  /** A request is done at a stage, at all of its instances there. */
  doneAt(stage: number, { costClass, units }: Cost): void {
    const list = this.underWay[stage]!;
    list[costClass] = list[costClass]! - units;
  }

  /** A request has ended, or begins again: it is not under way where it was not done. */
  ended({ unfinished }: AdmittedRequest, cost: Cost): void {
    for (let stage = 0; stage < unfinished.length; stage++) if (unfinished[stage]!.length > 0) this.doneAt(stage, cost);
  }

  /** A task is done. @param isCold it was the first of its process */
  sample(stage: number, { costClass, units }: Cost, computeUs: number, isCold: boolean): void {
    this.costs.done(stage, costClass, units, computeUs, isCold);
  }

  /**
   * What a request costs in all its stages, in microseconds; 1 where nothing is known: a share is a share of requests
   * then.
   */
  chargeUs({ costClass, units }: Cost): number {
    let sum = 0;
    for (let stage = 0; stage < this.underWay.length; stage++) sum += units * this.costs.unitUs(stage, costClass);
    return sum > 0 ? sum : 1;
  }

  /** What a request takes if nothing is ahead of it, in microseconds; NaN where a stage's cost is not known. */
  aloneUs({ costClass, units }: Cost): number {
    return longestPathUs(this.graph.before, (stage) => units * this.costs.unitUs(stage, costClass));
  }

  /**
   * Forecasts a newcomer.
   *
   * @param ahead units of each class that go before it from the queue
   * @returns undefined while a stage's cost is not known
   */
  expect({ costClass, units }: Cost, ahead: UnitsByClass, nowUs: number): Expectation | undefined {
    const { costs, admission, graph } = this;
    const stages: StageAhead[] = [];
    const classes = costs.classCount;
    for (let stage = 0; stage < this.underWay.length; stage++) {
      const ownUs = units * costs.unitUs(stage, costClass);
      if (Number.isNaN(ownUs)) return undefined;
      const underWay = this.underWay[stage]!;
      let workUs = 0;
      for (let i = 0; i < classes; i++) {
        const waiting = ahead[i]! + underWay[i]!;
        if (waiting > 0) workUs += waiting * (costs.unitUs(stage, i) || 0);
      }
      workUs = Math.max(0, workUs - admission.elapsedUs(stage, nowUs, ownUs));
      const { servers, startingUs } = admission.capacity(stage, nowUs);
      stages.push({ workUs, servers, startingUs, ownUs });
    }
    const plain = forecast(graph.before, stages, (admission.overhead * this.hops) / 2);
    const rawUs = plain.completionUs;
    const most = MOST_CORRECTION * rawUs;
    const { count, mean } = this.errors;
    const correction = count === 0 ? 0 : Math.min(most, Math.max(-most, mean));
    return {
      completionUs: rawUs + correction,
      aloneUs: plain.aloneUs,
      bottleneck: plain.bottleneck,
      rawUs,
      marginUs: this.margin * rawUs,
    };
  }

  /** A request that was forecast has its result, or is late by now: then it takes at least so long. */
  settled({ rawUs, completionUs }: Expectation, actualUs: number): void {
    this.errors.add(actualUs - rawUs);
    this.relative.add(Math.abs(actualUs - completionUs) / Math.max(1, actualUs));
    // Robbins and Monro, 1951: it comes to rest where one of so many is later.
    const isLater = actualUs > completionUs + this.margin * rawUs;
    const moved = this.margin + MARGIN_STEP * (isLater ? 1 - 1 / ONE_OF : -1 / ONE_OF);
    this.margin = Math.min(MOST_MARGIN, Math.max(0, moved));
  }

  /** For operators: what is known of costs, and how far off forecasts are on average, as a share of the time. */
  status(): {
    readonly costs: readonly CostStatus[];
    readonly served: readonly ServedTasks[];
    readonly forecasts: number;
    readonly meanError: number | undefined;
  } {
    const { count, mean } = this.relative;
    const { costs } = this;
    return {
      costs: costs.status(),
      served: costs.served(),
      forecasts: count,
      meanError: count === 0 ? undefined : mean,
    };
  }
}
