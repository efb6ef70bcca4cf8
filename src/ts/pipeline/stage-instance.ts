// A stage instance at work: runs the handler when all inputs of a task are there, and sends its output on.
//
// Invariant: a handler runs for tasks whose inputs are all here and readable, `concurrency` at a time, in the order in
// which they became ready. It may run twice for one request, in two processes; the request's result comes from one run.
// Every task ends with its output, with a failure, or because nobody wants it any more.
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import { BatchedTask } from './batch-task.js';
import type { Held } from './custody.js';
import { type Envelope, Flag, NO_STREAM } from './envelope.js';
import { BatchExecutor, type BatchStatus } from './executor.js';
import { failureOf } from './handler-failure.js';
import type { JoinedInputs } from './join.js';
import type { LatencyStatus } from './latency.js';
import { encodeMeta } from './meta.js';
import { encodeFailure, Report, ReportWriter, type StageFailure } from './notes.js';
import { asRdmaError, type Outgoing, Place, type PlaceOptions, type PlaceStatus } from './place.js';
import type { PlaceAddress } from './place-address.js';
import type { Via } from './link-connector.js';
import { GATEWAY_INDEX, type PlaceId, type Plan, placeName } from './plan.js';
import type { PythonStatus } from './python-status.js';
import { StreamOut } from './stream-output.js';
import { Suspects } from './suspects.js';
import type { RequestAttempt, TaskBoard } from './task-board.js';
import type { Spread, StageSpec } from './spec.js';
import { encodeProgress, type ProgressDetails } from './progress-note.js';
import { ALL } from './routing.js';
import type { TaskEnd } from './running-batch.js';
import { type StageOutput, Task, type TaskHost } from './task.js';
import { requestName } from './request-name.js';
import { TaskTimes } from './task-times.js';
import { deadlineOf, remainingMs } from './time-left.js';
import { addHops, TraceRecords } from './trace.js';
import { UnsentOutputs } from './unsent-outputs.js';
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

const MAX_TIMER_MS = 2 ** 31 - 1;
const NO_BYTES = new Uint8Array(0);

/** One instance of a stage. */
export class StageInstance {
  /** Name of the stage. */
  readonly stageName: string;
  private readonly limitName: string;
  private readonly options: StageInstanceOptions;
  private readonly stage: StageSpec;
  private place!: Place;
  private readonly ready: JoinedInputs[] = [];
  private readonly batches: BatchExecutor | undefined;
  private readonly unsent = new UnsentOutputs();
  private writers: readonly ReportWriter[] = []; // one for each gateway and its run
  private reportsDue = false;
  private taskNumber = 0; // of the last task that was made
  private readonly suspects = new Suspects();
  private linked = false;
  private running = 0;
  private readonly times = new TaskTimes();
  private droppedPreviews = 0;

  private constructor(options: StageInstanceOptions) {
    this.options = hideSecret(options);
    this.stage = options.graph.spec.stages[options.self.stage]!;
    this.stageName = this.stage.name;
    const { batchHandler: handler, batchKey: key } = options;
    const { batch, concurrency } = this.stage;
    if (batch !== undefined) {
      if (handler === undefined)
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${this.stageName} needs a batchHandler`);
      this.batches = new BatchExecutor(this, { ...batch, concurrency, handler, key });
    }
    this.limitName = `maxOutputBytes of stage ${this.stageName} (${this.stage.maxOutputBytes})`;
  }

  /**
   * Opens an instance: its inbox listens, and tasks begin after {@link StageInstance.connect}.
   *
   * @throws RdmaError as Inbox.listen
   */
  static async open(options: StageInstanceOptions): Promise<StageInstance> {
    const instance = new StageInstance(options);
    instance.place = await Place.open(instance.options, instance);
    for (const request of options.barred ?? []) instance.endRequest(request);
    instance.setSuspects(options.suspects ?? []);
    return instance;
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
    this.linked = true;
    this.next();
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
    const { place } = this;
    this.endRequest(request);
    const { gateway, gatewayRun, ticket, attempt } = request;
    const note = encodeFailure(place.noteHead(gatewayRun), ticket, attempt, failure, place.sizes.inlineBytes);
    if (!place.isEnding) place.sendNote(this.gatewayName(gateway), note);
  }

  /** These requests run alone from now on, and no others. */
  setSuspects(requests: readonly RequestAttempt[]): void {
    this.suspects.set(requests);
    this.batches?.regroup();
    this.next();
  }

  // ---- What the place says

  /** @internal */
  onComplete(joined: JoinedInputs): void {
    if (this.batches !== undefined) {
      this.batches.add(joined);
      return;
    }
    this.ready.push(joined);
    this.next();
  }

  /** @internal */
  onNote(kind: number): void {
    throw new RdmaError('RDMA_ERR_PROTOCOL', `a note of kind ${kind} is for gateways`);
  }

  /** @internal */
  onIncomplete(joined: JoinedInputs): void {
    this.report(joined, Report.INCOMPLETE);
  }

  /** @internal */
  onPieces(joined: JoinedInputs): void {
    joined.onPieces?.();
  }

  /** @internal */
  onUnreadable(joined: JoinedInputs, reason: RdmaError): void {
    if (joined.state === 'running') {
      joined.onCancel?.(reason);
      return;
    }
    joined.state = 'running';
    this.sendFailure(joined, { code: reason.code, message: reason.message });
  }

  /** @internal */
  onFailed(reason: RdmaError): void {
    this.options.onFailed(reason);
  }

  // ---- Tasks

  private next(): void {
    this.batches?.next();
    while (this.linked && this.running < this.stage.concurrency && !this.place.isEnding) {
      const joined = this.ready[0];
      if (joined === undefined) return;
      const isWanted = joined.state === 'ready';
      if (isWanted && !this.suspects.mayBegin(joined, this.running)) return;
      this.ready.shift();
      if (isWanted) this.run(joined);
    }
  }

  private run(joined: JoinedInputs): void {
    const task = this.taskOf(Task, joined);
    const ended = this.begin(joined, task);
    this.begun();
    let output: StageOutput | Promise<StageOutput>;
    let isPromise: boolean;
    try {
      const late = task.cancelled;
      if (late !== undefined) throw late;
      output = this.options.handler!(task);
      isPromise = typeof (output as Promise<StageOutput> | undefined)?.then === 'function';
    } catch (error) {
      ended(undefined, error);
      this.next();
      return;
    }
    if (isPromise) {
      // What only looks like a promise may answer twice, or throw.
      Promise.resolve(output).then(
        (value) => {
          ended(value, undefined);
          this.next();
        },
        (error: unknown) => {
          ended(undefined, error ?? new Error('the handler was rejected without a reason'));
          this.next();
        },
      );
    } else {
      ended(output as StageOutput, undefined);
      this.next();
    }
  }

  /** @internal */
  begin(joined: JoinedInputs, task: Task): TaskEnd {
    const { onEvent } = this.options;
    const { place } = this;
    joined.state = 'running';
    this.running++;
    if (place.mayAnnounce(this.times.usualUs)) {
      place.announce(place.receiversOf(joined.plan, joined.ledger.gateway, joined.route), place.nowUs());
    }
    const startUs = place.nowUs();
    const queueUs = startUs - joined.readyAtUs;
    joined.onCancel = (reason) => task.cancel(reason);
    if (joined.streams !== undefined) joined.onPieces = () => task.wake();
    const stopTimer = this.watchDeadline(joined, task, startUs);
    let stopLimit = this.watchLimit(task);
    const { board } = this.options;
    const { ledger } = joined;
    let slot = board?.begin(ledger.gateway, ledger.gatewayRun, joined.ticket, joined.attempt, startUs) ?? 0;
    let isAway = false;
    // Its time limit starts again when a Python process has it again.
    if (this.stage.python !== undefined) {
      task.onAway = (isNow) => {
        isAway = isNow;
        if (isNow) {
          stopLimit?.();
          board?.end(slot);
          return;
        }
        stopLimit = this.watchLimit(task);
        slot = board?.begin(ledger.gateway, ledger.gatewayRun, joined.ticket, joined.attempt, place.nowUs()) ?? 0;
      };
    }
    this.suspects.begins(joined);
    if ((joined.flags & Flag.WATCHED) !== 0) this.report(joined, Report.STARTED);
    if (onEvent !== undefined) onEvent({ type: 'task', request: task.request });
    return (output, error) => {
      stopTimer?.();
      if (!isAway) {
        stopLimit?.();
        board?.end(slot);
      }
      this.suspects.ended(joined);
      task.end();
      const computeUs = place.nowUs() - startUs - task.waitedUs;
      this.times.handlerEnded(computeUs, error !== undefined);
      const finish = (reason: unknown) => {
        joined.onCancel = undefined;
        joined.onPieces = undefined;
        this.running--;
        this.finish(joined, task, queueUs, computeUs, output, reason);
      };
      if (error !== undefined || joined.isClosed || joined.state === 'over') finish(error);
      else this.whenClosed(joined, finish);
    };
  }

  // The handler has ended before the streams that it reads: nothing goes out before all of them are here, so that
  // nobody works for a request that has its result already. No other task begins meanwhile: its handler might change
  // the tensors.
  private whenClosed(joined: JoinedInputs, finish: (reason: RdmaError | undefined) => void): void {
    const end = (reason: RdmaError | undefined) => {
      finish(reason);
      this.next();
    };
    joined.onCancel = end;
    joined.onPieces = () => {
      if (joined.isClosed) end(undefined);
    };
  }

  /** @internal Reports go at once: a handler may keep the process busy for minutes. */
  begun(): void {
    if (this.reportsDue) this.sendReports();
  }

  // ---- What batches ask

  /** @internal */
  isSuspect(joined: JoinedInputs): boolean {
    return this.suspects.has(joined);
  }

  /** @internal */
  mayBegin(joined: JoinedInputs, running: number): boolean {
    return this.suspects.mayBegin(joined, running);
  }

  /** @internal */
  get isOpen(): boolean {
    return this.linked && !this.place.isEnding;
  }

  /** @internal */
  get flaw(): string | undefined {
    return this.options.flaw;
  }

  /** @internal */
  nowUs(): number {
    return this.place.nowUs();
  }

  /** @internal */
  after(ms: number, call: () => void): () => void {
    return this.options.port.clock.after(ms, call);
  }

  /** @internal */
  soon(call: () => void): void {
    this.options.port.clock.soon(call);
  }

  /** @internal */
  deadlineOf(joined: JoinedInputs): number {
    return deadlineOf(joined);
  }

  /** @internal */
  batchedTaskOf(joined: JoinedInputs): BatchedTask {
    return this.taskOf(BatchedTask, joined);
  }

  private taskOf<T extends Task>(
    Made: new (host: TaskHost, joined: JoinedInputs, instance: number, instances: number) => T,
    joined: JoinedInputs,
  ): T {
    const { stage, instance } = this.options.self;
    const instances = joined.plan.instances[stage]!;
    const isWhole = this.stage.spread === 'either' && joined.route[stage] !== ALL;
    return new Made(this, joined, isWhole ? 0 : instances.indexOf(instance), isWhole ? 1 : instances.length);
  }

  /** @internal */
  receiversOf(joined: JoinedInputs): readonly string[] {
    return this.place.receiversOf(joined.plan, joined.ledger.gateway, joined.route);
  }

  /** @internal */
  spreadOf(joined: JoinedInputs): Spread {
    return joined.route[this.options.self.stage] === ALL ? 'shard' : 'route';
  }

  /** @internal */
  refuse(joined: JoinedInputs, task: Task, error: unknown): void {
    joined.state = 'running';
    this.times.refused();
    for (const block of task.takeBlocks()) block.release();
    this.sendFailure(joined, failureOf(error));
  }

  private watchDeadline(joined: JoinedInputs, task: Task, nowUs: number): (() => void) | undefined {
    const deadlineUs = deadlineOf(joined);
    if (deadlineUs === Number.POSITIVE_INFINITY) return undefined;
    const late = new RdmaError('RDMA_ERR_DEADLINE', `the deadline passed in stage ${this.stageName}`);
    const leftMs = (deadlineUs - nowUs) / 1000;
    // What no task of late was fast enough for is not begun.
    if (leftMs <= this.times.leastUs / 1000) {
      task.cancel(late);
      return undefined;
    }
    return this.options.port.clock.after(Math.min(leftMs, MAX_TIMER_MS), () => task.cancel(late));
  }

  private watchLimit(task: Task): (() => void) | undefined {
    const { taskTimeoutMs } = this.stage;
    if (taskTimeoutMs === undefined) return undefined;
    return this.options.port.clock.after(taskTimeoutMs, () => {
      const text = `the task took longer than ${taskTimeoutMs} ms (taskTimeoutMs) in stage ${this.stageName}`;
      task.cancel(new RdmaError('RDMA_ERR_TIMEOUT', text, { stage: this.stageName }));
    });
  }

  private finish(
    joined: JoinedInputs,
    task: Task,
    queueUs: number,
    computeUs: number,
    output: StageOutput | undefined,
    error: unknown,
  ): void {
    this.times.taskEnded(queueUs, computeUs);
    let failure: StageFailure | undefined;
    const stream = task.published;
    if (this.place.isEnding || joined.state === 'over') {
      for (const block of task.takeBlocks()) block.release();
      stream?.drop();
      // A place that is being closed has not finished it: whoever comes after it gets its inputs again.
      if (!this.place.isEnding) this.settleBehind(joined, stream);
      return;
    }
    // Whatever a handler throws because of the signal, the reason is the signal's.
    if (error !== undefined) failure = failureOf(task.cancelled ?? error);
    let outgoing: Outgoing | undefined;
    if (failure === undefined) {
      try {
        outgoing = this.prepare(joined, task, output, queueUs, computeUs);
      } catch (cause) {
        failure = failureOf(cause);
      }
    }
    // Not before it is known which of them the output refers to.
    const blocks = task.takeBlocks();
    const { onEvent } = this.options;
    if (onEvent !== undefined) {
      onEvent({ type: 'done', request: task.request, queueUs, computeUs, failed: failure !== undefined });
    }
    if (failure !== undefined || outgoing === undefined) {
      for (const block of blocks) block.release();
      this.times.failed();
      this.sendFailure(joined, failure ?? { code: 'RDMA_ERR_HANDLER', message: 'no output' }, stream);
      return;
    }
    joined.state = 'sent';
    this.send(joined, outgoing, blocks, queueUs, computeUs, stream);
  }

  // Receivers of its pieces may read what it was given.
  private settleBehind(joined: JoinedInputs, stream: StreamOut | undefined): void {
    if (stream !== undefined) {
      stream.custody.allSent();
      return;
    }
    this.place.join.settle(joined);
    // The memory of its outputs was given back.
    this.unsent.retry();
  }

  private prepare(
    joined: JoinedInputs,
    task: Task,
    output: StageOutput | undefined,
    queueUs: number,
    computeUs: number,
  ): Outgoing {
    if (typeof output !== 'object' || output === null) {
      throw new RdmaError('RDMA_ERR_HANDLER', `the handler of stage ${this.stageName} must return {meta, parts}`, {
        remedy: 'return {} for an empty output',
      });
    }
    const { meta, parts } = output;
    const { maxOutputBytes } = this.stage;
    const encoded = meta === undefined ? NO_BYTES : encodeMeta(meta);
    const trace = (joined.flags & Flag.TRACED) === 0 ? NO_BYTES : this.traceOf(joined, queueUs, computeUs);
    const limit = maxOutputBytes - (task.published?.bytes ?? 0);
    return this.place.prepare(parts, encoded, trace, limit, this.limitName, task);
  }

  /** @internal */
  openStream(joined: JoinedInputs, task: Task): StreamOut {
    const { place, limitName } = this;
    const { maxPieces, maxOutputBytes } = this.stage;
    if (maxPieces === 0) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${this.stageName} publishes no pieces`, {
        remedy: `give stage ${this.stageName} maxPieces`,
      });
    }
    const targets = place.receiversOf(joined.plan, joined.ledger.gateway, joined.route);
    return new StreamOut({
      maxPieces,
      get cancelled() {
        return task.cancelled;
      },
      get isWanted() {
        return joined.state === 'running' || joined.state === 'sent';
      },
      prepare: (parts, meta, takenBytes) => {
        try {
          const outgoing = place.prepare(parts, meta, NO_BYTES, maxOutputBytes - takenBytes, limitName, task);
          return { outgoing, blocks: task.takeReturned() };
        } catch (error) {
          for (const block of task.takeReturned()) block.release();
          throw error;
        }
      },
      envelope: () => this.envelopeOf(joined, 0, 0),
      transmit: (envelope, outgoing, blocks, custody) => {
        envelope.remainingMs = remainingMs(deadlineOf(joined), place.nowUs());
        return place.transmit(envelope, outgoing, targets, blocks, custody);
      },
      attempt: (attempt) => {
        this.unsent.send(() => place.isEnding || attempt());
      },
      settled: () => this.settle(joined, 0),
    });
  }

  // `sentUs`: when its output was sent, where batches learn from that.
  private settle(joined: JoinedInputs, sentUs: number): void {
    this.place.join.settle(joined);
    this.batches?.settled(this.place.nowUs() - sentUs);
    this.unsent.retry();
  }

  private traceOf(joined: JoinedInputs, queueUs: number, computeUs: number): Uint8Array {
    const { stage, instance } = this.options.self;
    const records = new TraceRecords();
    addHops(records, joined, stage, instance);
    records.addTask(stage, instance, queueUs, computeUs);
    return records.encoded;
  }

  // Of the messages of one task; its block and lengths are set when one is sent.
  private envelopeOf(joined: JoinedInputs, queueUs: number, computeUs: number): Envelope {
    const { ledger, plan } = joined;
    const { self, incarnation } = this.options;
    const runs = joined.runs!;
    // Its own run; merged runs hold none for it.
    runs[self.stage] = incarnation;
    joined.task ||= ++this.taskNumber;
    return {
      flags: joined.flags,
      plan: plan.number,
      gateway: ledger.gateway,
      gatewayRun: ledger.gatewayRun,
      ticket: joined.ticket,
      attempt: joined.attempt,
      finishedBelow: ledger.finishedBelow,
      fromStage: self.stage,
      fromInstance: self.instance,
      incarnation,
      remainingMs: remainingMs(deadlineOf(joined), this.place.nowUs()),
      sentAtUs: 0,
      host: 0,
      queueUs,
      computeUs,
      task: joined.task,
      piece: NO_STREAM,
      pieces: NO_STREAM,
      route: joined.route,
      runs,
      bodyBytes: 0,
      partCount: 0,
      traceBytes: 0,
      tableBytes: 0,
      metaBytes: 0,
      block: undefined,
    };
  }

  private send(
    joined: JoinedInputs,
    outgoing: Outgoing,
    blocks: readonly Held[],
    queueUs: number,
    computeUs: number,
    stream: StreamOut | undefined,
  ): void {
    const { place } = this;
    const envelope = this.envelopeOf(joined, queueUs, computeUs);
    const targets = place.receiversOf(joined.plan, joined.ledger.gateway, joined.route);
    const isLast = this.options.graph.behind[this.options.self.stage]!.length === 0;
    // Behind its result a gateway takes no report of a request.
    if (isLast && (joined.flags & Flag.WATCHED) !== 0) this.sendReports();
    const sentUs = this.batches === undefined ? 0 : place.nowUs();
    if (place.flaw === 'early-acknowledgement') place.join.settle(joined);
    const attempt = () => {
      // Behind all pieces, also those that have waited for memory.
      if (this.stage.maxPieces > 0) envelope.pieces = stream?.pieces ?? 0;
      return this.attempt(joined, envelope, outgoing, targets, blocks, stream, sentUs);
    };
    this.unsent.send(attempt);
    if (!isLast) this.report(joined, Report.DONE, queueUs, computeUs);
  }

  // True when the output was sent, or there is nothing more to be done about it.
  private attempt(
    joined: JoinedInputs,
    envelope: Envelope,
    outgoing: Outgoing,
    targets: readonly string[],
    blocks: readonly Held[],
    stream: StreamOut | undefined,
    sentUs: number,
  ): boolean {
    if (this.place.isEnding) return true;
    try {
      const custody = stream?.custody;
      const onSettled = custody ?? (() => this.settle(joined, sentUs));
      const isSent = this.place.transmit(envelope, outgoing, targets, blocks, onSettled);
      if (isSent) custody?.allSent();
      return isSent;
    } catch (error) {
      this.sendFailure(joined, failureOf(error), stream);
      return true;
    }
  }

  // Straight to the gateway, which ends the request everywhere. The inputs are kept until it has the failure.
  private sendFailure(joined: JoinedInputs, failure: StageFailure, stream?: StreamOut): void {
    const { place } = this;
    const { gateway, gatewayRun } = joined.ledger;
    joined.state = 'sent';
    stream?.drop();
    if ((joined.flags & Flag.WATCHED) !== 0) this.sendReports();
    const { inlineBytes } = place.sizes;
    const note = encodeFailure(place.noteHead(gatewayRun), joined.ticket, joined.attempt, failure, inlineBytes);
    try {
      place.sendNote(this.gatewayName(gateway), note, () => this.settleBehind(joined, stream));
    } catch (error) {
      this.onFailed(asRdmaError(error, 'a failure cannot be reported'));
    }
  }

  // ---- Reports

  /** @internal */
  progress(joined: JoinedInputs, done: number, details: ProgressDetails | undefined): void {
    if (joined.state !== 'running') return;
    const share = Math.min(1, Math.max(0, Number(done) || 0));
    const { gateway, gatewayRun } = joined.ledger;
    const request = requestName(gateway, gatewayRun, joined.ticket);
    this.options.onEvent?.({ type: 'progress', request, done: share, ...details });
    if ((joined.flags & Flag.WATCHED) === 0) return;
    if (details === undefined) this.report(joined, Report.PROGRESS, 0, 0, share);
    else this.sendProgress(joined, share, details);
  }

  private sendProgress(
    { ledger, ticket, attempt }: JoinedInputs,
    done: number,
    { step, preview }: ProgressDetails,
  ): void {
    const target = this.gatewayName(ledger.gateway);
    // Behind the report that the task began.
    this.sendReports();
    const isLate = preview !== undefined && this.place.hasBacklog(target);
    if (isLate) this.droppedPreviews++;
    const note = { ticket, attempt, done, step, preview: isLate ? undefined : preview };
    const notes = encodeProgress(this.place.noteHead(ledger.gatewayRun), note, this.place.sizes.inlineBytes);
    for (const bytes of notes) if (!this.place.isEnding) this.place.sendNote(target, bytes);
  }

  private report(joined: JoinedInputs, what: number, queueUs = 0, computeUs = 0, progress = 0): void {
    const { ledger, ticket, attempt } = joined;
    const writer = this.writerFor(ledger.gateway, ledger.gatewayRun);
    if (writer.isFull) this.sendReport(writer);
    writer.add(what, ticket, attempt, queueUs, computeUs, progress);
    if (this.reportsDue) return;
    // Behind what is being done now, so that an output goes before its report, and several reports together.
    this.reportsDue = true;
    queueMicrotask(this.sendReports);
  }

  private writerFor(gateway: number, gatewayRun: number): ReportWriter {
    const { writers } = this;
    for (let i = 0; i < writers.length; i++) if (writers[i]!.isFor(gateway, gatewayRun)) return writers[i]!;
    const { stage, instance } = this.options.self;
    const writer = new ReportWriter(stage, instance, gateway, gatewayRun);
    // Of an older run of the gateway nobody reads anything.
    this.writers = [...writers.filter((other) => other.gateway !== gateway || !other.isEmpty), writer];
    return writer;
  }

  private readonly sendReports = (): void => {
    this.reportsDue = false;
    const { writers } = this;
    for (let i = 0; i < writers.length; i++) if (!writers[i]!.isEmpty) this.sendReport(writers[i]!);
  };

  private sendReport(writer: ReportWriter): void {
    const note = writer.take();
    if (!this.place.isEnding) this.place.sendNote(this.gatewayName(writer.gateway), note);
  }

  private gatewayName(gateway: number): string {
    return placeName(this.options.graph.spec, { stage: GATEWAY_INDEX, instance: gateway });
  }

  // ---- State

  /** True when it has nothing to do and nothing that it answers for: it may end without anybody noticing. */
  get isDrained(): boolean {
    return this.running === 0 && this.batches?.isIdle !== false && this.place.isEmpty;
  }

  /** How many outputs a target (`stage/0`) has not acknowledged. */
  unacknowledged(target: string): number {
    return this.place.unacknowledged(target);
  }

  /** What an operator asks. Computed at each call; not for hot loops. */
  status(): StageInstanceStatus {
    const { running, droppedPreviews, batches, unsent } = this;
    const ready = batches === undefined ? this.ready.length : batches.waiting;
    return {
      ...this.place.status(),
      running,
      ready,
      unsent: unsent.length,
      ...this.times.status(),
      droppedPreviews,
      batches: batches?.status(),
    };
  }

  /** Ends the instance at once; what it has not finished stays with the places before it. */
  close(): Promise<void> {
    this.batches?.close();
    return this.place.close();
  }
}
