// An instance of a stage: a place whose owner runs the stage's handler and sends on what it answers.
//
// Invariant: a handler runs for tasks whose inputs are all here and readable, `concurrency` at a time, in the order in
// which they became ready. It may run twice for one request, in two processes; the request's result comes from one run.
// Every task ends with its output, with a failure, or because nobody wants it any more.
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import type { BatchStatus } from './executor.js';
import type { LatencyStatus } from './latency.js';
import type { Via } from './link-connector.js';
import { Report, type StageFailure } from './notes.js';
import { Place } from './place.js';
import type { PlaceOptions, PlaceOwner, PlaceStatus } from './place-options.js';
import type { PlaceAddress } from './place-address.js';
import type { PlaceId, Plan } from './plan.js';
import type { PythonStatus } from './python-status.js';
import { Reporter } from './reporter.js';
import { StageOutputs } from './stage-outputs.js';
import type { RequestAttempt, TaskBoard } from './task-board.js';
import { TaskMaker } from './task-maker.js';
import { TaskRunner } from './task-runner.js';
import type { StageCode } from './workflow.js';

/** What an instance of a stage has to know. */
export interface StageInstanceOptions extends PlaceOptions, StageCode {
  /** Where it says which tasks run; undefined: nobody looks. */
  board?: TaskBoard | undefined;
  /** Requests that have ended: it runs none of them, though they may come again. Default none. */
  barred?: readonly RequestAttempt[] | undefined;
  /** Requests that run alone; default none. */
  suspects?: readonly RequestAttempt[] | undefined;
  /** Called with what the instance does; undefined: nobody wants to know. */
  onEvent?: ((event: StageEvent) => void) | undefined;
  /** Called when it cannot go on. */
  onFailed: (reason: RdmaError) => void;
}

/** What a stage instance says of itself. */
export type StageEvent =
  | { type: 'task'; request: string }
  | {
      type: 'progress';
      request: string;
      done: number;
      step?: number;
      preview?: string | Uint8Array;
      /** As the gateway estimates; see ProgressEvent. */
      remainingMs?: number;
    }
  | { type: 'done'; request: string; queueUs: number; computeUs: number; failed: boolean };

/** Answered by {@link StageInstance.status}. */
export interface StageInstanceStatus extends PlaceStatus {
  /** Tasks whose handler runs, that wait for their turn, and whose output waits for memory. */
  readonly running: number;
  readonly ready: number;
  readonly unsent: number;
  /** Sums since the start. */
  readonly tasks: number;
  readonly failures: number;
  /** How long its tasks waited with all their inputs here, and how long the handler took, since the start. */
  readonly queueTimes: LatencyStatus;
  readonly computeTimes: LatencyStatus;
  /** Previews that were dropped, as the gateway did not keep up, since the start. */
  readonly droppedPreviews: number;
  /** Of a stage that takes batches. */
  readonly batches: BatchStatus | undefined;
  /** Of a stage in Python. */
  readonly python?: PythonStatus;
}

/** One instance of a stage. */
export class StageInstance {
  /** Name of the stage. */
  readonly stageName: string;
  private readonly place: Place;
  private readonly reporter: Reporter;
  private readonly outputs: StageOutputs;
  private readonly runner: TaskRunner;

  private constructor(options: StageInstanceOptions, place: Place) {
    this.stageName = stageNameOf(options);
    this.place = place;
    this.reporter = new Reporter(place);
    this.outputs = new StageOutputs(place, this.reporter, options.onFailed);
    const maker = new TaskMaker(place, this.reporter, this.outputs, options.onEvent);
    this.runner = new TaskRunner(options, place, this.reporter, this.outputs, maker);
  }

  /**
   * Opens an instance: its inbox listens, and tasks begin after {@link StageInstance.connect}.
   *
   * @throws RdmaError as Inbox.listen
   */
  static async open(given: StageInstanceOptions): Promise<StageInstance> {
    const options = hideSecret(given);
    const { graph, self, batchHandler, barred, suspects, onFailed } = options;
    if (graph.spec.stages[self.stage]!.batch !== undefined && batchHandler === undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${stageNameOf(options)} needs a batchHandler`);
    }
    const place = new Place(options);
    const instance = new StageInstance(options, place);
    await place.listen(instance.placeOwner(onFailed));
    for (const request of barred ?? []) instance.endRequest(request);
    instance.setSuspects(suspects ?? []);
    return instance;
  }

  private placeOwner(onFailed: (reason: RdmaError) => void): PlaceOwner {
    const { reporter, outputs, runner } = this;
    return {
      onComplete: (joined) => runner.add(joined),
      onPieces: (joined) => joined.onPieces?.(),
      onNote: (kind) => {
        throw new RdmaError('RDMA_ERR_PROTOCOL', `a note of kind ${kind} is for gateways`);
      },
      onIncomplete: (joined) => reporter.report(joined, Report.INCOMPLETE),
      onUnreadable: (joined, reason) => {
        if (joined.state === 'running') {
          joined.onCancel?.(reason);
          return;
        }
        joined.state = 'running';
        outputs.fail(joined, { code: reason.code, message: reason.message });
      },
      onFailed,
    };
  }

  /** Where other places connect. */
  get address(): PlaceAddress {
    return this.place.address;
  }

  /** The device by which each place is reached, and why. */
  get vias(): Record<string, Via> {
    return this.place.vias;
  }

  /** @internal */
  get pool() {
    return this.place.pool;
  }

  /** @internal */
  get inlineBytes(): number {
    return this.place.sizes.inlineBytes;
  }

  /** Connects to all places that it may send to; tasks begin when it has. @throws as Outbox.connect */
  async connect(): Promise<void> {
    await this.place.connect();
    this.runner.open();
  }

  /** Works under one more plan, when it is connected to all its places. @throws as Outbox.connect */
  adopt(plan: Plan): Promise<void> {
    return this.place.adopt(plan);
  }

  /** Lets go of a plan under which no request is any more. */
  retire(number: number): Promise<void> {
    return this.place.retire(number);
  }

  /**
   * Waits no more for a place that is gone for good. Gateways admit the requests that pass it again.
   *
   * @returns when the way there is closed
   */
  giveUp(place: PlaceId): Promise<void> {
    return this.place.giveUp(place);
  }

  /** What `resolve` answers may have changed: what is sent to a place that is elsewhere goes there. */
  reviewAddresses(): void {
    this.place.reviewAddresses();
  }

  /** The request has ended at its gateway: its task stops, and does not run again. */
  endRequest({ gateway, gatewayRun, ticket, attempt }: RequestAttempt): void {
    this.place.join.bar(gateway, gatewayRun, ticket, attempt);
  }

  /**
   * A process before this one has ended over a request: this tells the gateway why it fails, and its task does not run
   * here. Call it when the instance is connected. A second call does nothing more.
   */
  failRequest(request: RequestAttempt, failure: StageFailure): void {
    this.endRequest(request);
    if (!this.place.isEnding) this.reporter.sendFailure(request, failure);
  }

  /** These requests run alone from now on, and no others. */
  setSuspects(requests: readonly RequestAttempt[]): void {
    this.runner.setSuspects(requests);
  }

  /** True when it has nothing to do and nothing that it answers for: it may end without anybody noticing. */
  get isDrained(): boolean {
    return this.runner.isIdle && this.place.isEmpty;
  }

  /** How many outputs a target (`stage/0`) has not acknowledged. */
  unacknowledged(target: string): number {
    return this.place.unacknowledged(target);
  }

  /** What an operator asks. Computed at each call; not for hot loops. */
  status(): StageInstanceStatus {
    const { place, reporter, outputs, runner } = this;
    return {
      ...place.status(),
      running: runner.running,
      ready: runner.waiting,
      unsent: outputs.waiting,
      ...runner.times.status(),
      droppedPreviews: reporter.droppedPreviews,
      batches: runner.batches?.status(),
    };
  }

  /** Ends the instance at once; what it has not finished stays with the places before it. */
  close(): Promise<void> {
    this.runner.close();
    return this.place.close();
  }
}

function stageNameOf({ graph, self }: StageInstanceOptions): string {
  return graph.spec.stages[self.stage]!.name;
}
