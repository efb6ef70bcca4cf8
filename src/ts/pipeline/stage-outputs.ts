// The outputs of a stage instance on their way: they are checked, wait for memory, go out, and are settled.
//
// Invariant: the inputs of a task are settled when everything that was made of them has been acknowledged, or the
// gateway has its failure. What waits for memory goes out in order.
import { RdmaError } from '../core/errors.js';
import { asRdmaError } from './as-rdma-error.js';
import type { Held } from './custody.js';
import { type Envelope, Flag, NO_STREAM } from './envelope.js';
import { failureOf } from './handler-failure.js';
import type { JoinedInputs } from './join.js';
import { encodeMeta } from './meta.js';
import { Report, type StageFailure } from './notes.js';
import type { Place } from './place.js';
import type { Reporter } from './reporter.js';
import type { StageSpec } from './spec.js';
import { StreamOut } from './stream-output.js';
import type { StageOutput, Task } from './task.js';
import { deadlineOf, remainingMs } from './time-left.js';
import { addHops, TraceRecords } from './trace.js';
import type { Outgoing } from './transmitter.js';
import { UnsentOutputs } from './unsent-outputs.js';

const NO_BYTES = new Uint8Array(0);

export class StageOutputs {
  private readonly place: Place;
  private readonly reporter: Reporter;
  private readonly stage: StageSpec;
  private readonly onFailed: (reason: RdmaError) => void;
  private readonly limitName: string;
  private readonly isLast: boolean;
  private readonly unsent = new UnsentOutputs();
  private taskNumber = 0; // of the last task that has sent something
  /** Told how long an output was on its way, in microseconds; undefined: nobody wants to know. */
  onSettled: ((us: number) => void) | undefined;

  /** @param onFailed called when a failure cannot be reported: the instance cannot go on */
  constructor(place: Place, reporter: Reporter, onFailed: (reason: RdmaError) => void) {
    const { graph, self } = place.options;
    this.place = place;
    this.reporter = reporter;
    this.onFailed = onFailed;
    this.stage = graph.spec.stages[self.stage]!;
    this.isLast = graph.behind[self.stage]!.length === 0;
    this.limitName = `maxOutputBytes of stage ${this.stage.name} (${this.stage.maxOutputBytes})`;
  }

  /** Outputs and pieces that wait for memory. */
  get waiting(): number {
    return this.unsent.length;
  }

  /**
   * Checks what a handler has answered.
   *
   * @throws RdmaError RDMA_ERR_HANDLER for what is no output; as Place.prepare
   */
  prepare(
    joined: JoinedInputs,
    task: Task,
    output: StageOutput | undefined,
    queueUs: number,
    computeUs: number,
  ): Outgoing {
    const { name, maxOutputBytes } = this.stage;
    if (typeof output !== 'object' || output === null) {
      throw new RdmaError('RDMA_ERR_HANDLER', `the handler of stage ${name} must return {meta, parts}`, {
        remedy: 'return {} for an empty output',
      });
    }
    const { meta, parts } = output;
    const encoded = meta === undefined ? NO_BYTES : encodeMeta(meta);
    const trace = (joined.flags & Flag.TRACED) === 0 ? NO_BYTES : this.traceOf(joined, queueUs, computeUs);
    const limit = maxOutputBytes - (task.published?.bytes ?? 0);
    return this.place.prepare(parts, encoded, trace, limit, this.limitName, task);
  }

  /** Sends an output, now or when there is memory; of its blocks one reference each goes over to this. */
  send(
    joined: JoinedInputs,
    outgoing: Outgoing,
    blocks: readonly Held[],
    queueUs: number,
    computeUs: number,
    stream: StreamOut | undefined,
  ): void {
    const { place, reporter, isLast } = this;
    joined.state = 'sent';
    const envelope = this.envelopeOf(joined, queueUs, computeUs);
    const targets = place.receiversOf(joined.plan, joined.ledger.gateway, joined.route);
    // Behind its result a gateway takes no report of a request.
    if (isLast && (joined.flags & Flag.WATCHED) !== 0) reporter.sendAll();
    const sentUs = this.onSettled === undefined ? 0 : place.nowUs();
    if (place.flaw === 'early-acknowledgement') place.join.settle(joined);
    const attempt = () => {
      // Behind all pieces, also those that have waited for memory.
      if (this.stage.maxPieces > 0) envelope.pieces = stream?.pieces ?? 0;
      return this.attempt(joined, envelope, outgoing, targets, blocks, stream, sentUs);
    };
    this.unsent.send(attempt);
    if (!isLast) reporter.report(joined, Report.DONE, queueUs, computeUs);
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
      this.fail(joined, failureOf(error), stream);
      return true;
    }
  }

  /** Straight to the gateway, which ends the request everywhere. The inputs are kept until it has the failure. */
  fail(joined: JoinedInputs, failure: StageFailure, stream?: StreamOut): void {
    const { ledger, ticket, attempt } = joined;
    const { gateway, gatewayRun } = ledger;
    joined.state = 'sent';
    stream?.drop();
    if ((joined.flags & Flag.WATCHED) !== 0) this.reporter.sendAll();
    try {
      this.reporter.sendFailure({ gateway, gatewayRun, ticket, attempt }, failure, () =>
        this.settleBehind(joined, stream),
      );
    } catch (error) {
      this.onFailed(asRdmaError(error, 'a failure cannot be reported'));
    }
  }

  /** Nobody wants the task, whose handler has ended, any more: nothing of it goes out. */
  drop(joined: JoinedInputs, task: Task): void {
    for (const block of task.takeBlocks()) block.release();
    const stream = task.published;
    stream?.drop();
    // A place that is being closed has not finished it: whoever comes after it gets its inputs again.
    if (!this.place.isEnding) this.settleBehind(joined, stream);
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

  // `sentUs`: when its output was sent, where batches learn from that.
  private settle(joined: JoinedInputs, sentUs: number): void {
    this.place.join.settle(joined);
    this.onSettled?.(this.place.nowUs() - sentUs);
    this.unsent.retry();
  }

  /** The stream of a task. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when its stage has no `maxPieces` */
  openStream(joined: JoinedInputs, task: Task): StreamOut {
    const { place, limitName } = this;
    const { name, maxPieces, maxOutputBytes } = this.stage;
    if (maxPieces === 0) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} publishes no pieces`, {
        remedy: `give stage ${name} maxPieces`,
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

  private traceOf(joined: JoinedInputs, queueUs: number, computeUs: number): Uint8Array {
    const { stage, instance } = this.place.options.self;
    const records = new TraceRecords();
    addHops(records, joined, stage, instance);
    records.addTask(stage, instance, queueUs, computeUs);
    return records.encoded;
  }

  // Of the messages of one task; its block and lengths are set when one is sent.
  private envelopeOf(joined: JoinedInputs, queueUs: number, computeUs: number): Envelope {
    const { ledger, plan } = joined;
    const { self, incarnation } = this.place.options;
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
}
