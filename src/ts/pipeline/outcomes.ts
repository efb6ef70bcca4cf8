// What the places say of the requests of a gateway: results and pieces, reports of tasks, progress, and failures.
//
// Invariant: what belongs to another attempt, or to a request that has ended, changes nothing: it is settled, or its
// sender learns that the request has ended. A result ends its request before its caller gets it.
import { RdmaError } from '../core/errors.js';
import { Kind } from './envelope.js';
import type { GatewayOptions } from './gateway-options.js';
import type { Input } from './input.js';
import type { JoinedInputs } from './join.js';
import {
  encodeEnded,
  readFailure,
  readNoteHead,
  readReports,
  Report,
  type ReportRecord,
  type StageFailure,
} from './notes.js';
import type { Place } from './place.js';
import type { PlaceOwner } from './place-options.js';
import { GATEWAY_INDEX, type PlaceId, placeName } from './plan.js';
import { RequestProgress } from './progress.js';
import { Previews, type ProgressNote } from './progress-note.js';
import type { RequestKeeper } from './request-keeper.js';
import { readResult } from './result.js';
import type { TaskEvents } from './task-events.js';
import type { Ticket } from './ticket.js';

export class Outcomes implements Omit<PlaceOwner, 'onFailed'> {
  private readonly options: GatewayOptions;
  private readonly place: Place;
  private readonly keeper: RequestKeeper;
  private readonly events: TaskEvents;
  private readonly previews = new Previews();

  constructor(options: GatewayOptions, place: Place, keeper: RequestKeeper, events: TaskEvents) {
    this.options = options;
    this.place = place;
    this.keeper = keeper;
    this.events = events;
  }

  private ticketOf({ ledger, ticket, attempt }: JoinedInputs): Ticket | undefined {
    return this.keeper.underWay.find(ledger.gatewayRun, ticket, attempt);
  }

  // ---- Results

  onComplete(joined: JoinedInputs): void {
    const ticket = this.ticketOf(joined);
    joined.state = 'sent';
    if (ticket === undefined) {
      this.place.join.settle(joined); // a second result of a request that has ended
      return;
    }
    const { keeper, events } = this;
    const { admitted } = ticket;
    const nowUs = this.place.nowUs();
    if (admitted !== undefined && events.isWatched(ticket)) events.tellUnreported(ticket, admitted.unfinished, joined);
    for (const input of joined.inputs as Input[]) {
      const { fromStage: stage, fromInstance: instance, queueUs, computeUs } = input.envelope;
      if (admitted !== undefined) keeper.done(ticket, admitted, { stage, instance }, queueUs, computeUs, nowUs);
      events.tell('done', ticket, stage, instance, { queueUs, computeUs });
    }
    keeper.end(ticket);
    try {
      this.answer(ticket, joined);
    } catch (error) {
      // No memory for the copy, or metadata that is not JSON.
      this.place.join.settle(joined);
      const text = `the result cannot be read: ${String(error)}`;
      ticket.reject(new RdmaError('RDMA_ERR_STAGE_FAILED', text, { cause: error }));
    }
    keeper.admitWaiting();
  }

  private answer(ticket: Ticket, joined: JoinedInputs): void {
    const { graph, self } = this.options;
    const result = readResult(graph.spec, self.instance, this.place.join, ticket, joined);
    const { expectation } = ticket;
    if (expectation !== undefined) {
      this.keeper.door.forecaster.settled(expectation, this.place.nowUs() - ticket.queuedAtUs);
    }
    ticket.resolve(result);
  }

  onPieces(joined: JoinedInputs): void {
    const ticket = this.ticketOf(joined);
    if (ticket?.pieces === undefined) return;
    try {
      ticket.pieces.deliver(joined);
    } catch (cause) {
      this.keeper.cancel(ticket, new RdmaError('RDMA_ERR_HANDLER', `onPiece has failed: ${String(cause)}`, { cause }));
    }
  }

  onIncomplete(joined: JoinedInputs): void {
    if (this.ticketOf(joined) === undefined) this.place.join.end(joined);
  }

  onUnreadable(joined: JoinedInputs, reason: RdmaError): void {
    const ticket = this.ticketOf(joined);
    this.place.join.end(joined);
    if (ticket !== undefined) this.keeper.cancel(ticket, reason);
  }

  // ---- Notes

  onNote(kind: number, bytes: Uint8Array, view: DataView): void {
    const head = readNoteHead(bytes, view, this.options.graph.spec.stages.length);
    if (head.stage === GATEWAY_INDEX) throw new RdmaError('RDMA_ERR_PROTOCOL', 'gateways send no notes to gateways');
    if (kind === Kind.REPORTS) {
      for (const record of readReports(bytes, view)) this.onReport(head, head.gatewayRun, record);
    } else if (kind === Kind.FAILURE) {
      const { ticket, attempt, failure } = readFailure(bytes, view);
      this.onFailure(head, this.keeper.underWay.find(head.gatewayRun, ticket, attempt), failure);
    } else if (kind === Kind.PROGRESS) {
      const note = this.previews.take(head, bytes, view);
      if (note !== undefined) this.onProgress(head, head.gatewayRun, note);
    } else throw new RdmaError('RDMA_ERR_PROTOCOL', `a note of the unknown kind ${kind}`);
  }

  private onReport(from: PlaceId, gatewayRun: number, record: ReportRecord): void {
    const { what, ticket: number, attempt, queueUs, computeUs, progress } = record;
    const { keeper, events } = this;
    if (what === Report.INCOMPLETE) {
      // What has ended here will never be complete there: a sender has its acknowledgement and sends no more.
      if (keeper.underWay.hasEnded(gatewayRun, number, attempt)) {
        const note = encodeEnded(this.place.noteHead(gatewayRun), number, attempt);
        this.place.sendNote(placeName(this.options.graph.spec, from), note);
      }
      return;
    }
    const ticket = keeper.underWay.find(gatewayRun, number, attempt);
    if (ticket === undefined) return;
    if (what === Report.STARTED) {
      ticket.progress ??= new RequestProgress();
      ticket.progress.started(from, this.place.nowUs());
      events.tell('task', ticket, from.stage, from.instance, {});
    } else if (what === Report.PROGRESS) {
      const note = { ticket: number, attempt, done: progress, step: undefined, preview: undefined };
      this.onProgress(from, gatewayRun, note);
    } else {
      const { admitted } = ticket;
      if (admitted !== undefined) keeper.done(ticket, admitted, from, queueUs, computeUs, this.place.nowUs());
      events.tell('done', ticket, from.stage, from.instance, { queueUs, computeUs });
      keeper.admitWaiting();
    }
  }

  private onProgress(from: PlaceId, gatewayRun: number, note: ProgressNote): void {
    const ticket = this.keeper.underWay.find(gatewayRun, note.ticket, note.attempt);
    if (ticket === undefined || from.stage < 0) return;
    this.events.tellProgress(ticket, from, note, this.place.nowUs(), this.keeper.door.forecaster.costs);
  }

  private onFailure(from: PlaceId, ticket: Ticket | undefined, failure: StageFailure): void {
    if (ticket === undefined) return;
    const { name = 'unknown', attempts = 1 } = this.options.graph.spec.stages[from.stage] ?? {};
    this.events.tell('failed', ticket, from.stage, from.instance, {});
    if (failure.retryable === true && ticket.admitted !== undefined && ++ticket.tries < attempts) {
      this.keeper.admitAgain(ticket);
      return;
    }
    if (failure.code === 'RDMA_ERR_DEADLINE') this.keeper.learnLate(ticket, ticket.deadlineUs - ticket.queuedAtUs);
    const code = failure.code === 'RDMA_ERR_DEADLINE' ? 'RDMA_ERR_DEADLINE' : 'RDMA_ERR_STAGE_FAILED';
    this.keeper.cancel(ticket, new RdmaError(code, `stage ${name} failed: ${failure.message}`, { stage: name }));
  }
}
