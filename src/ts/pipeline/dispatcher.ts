// What a gateway sends to places: admitted requests to the first stages, and the news that a request has ended to all
// of its places.
//
// Invariant: each message says below which number all requests of the gateway have ended, so places forget what they
// need not remember. Places that may sleep hear of a request before it comes to them; nothing depends on that.
import type { Block } from '../ring/index.js';
import type { AdmittedRequest } from './admission.js';
import { type Envelope, Flag, NO_STREAM } from './envelope.js';
import type { GatewayOptions } from './gateway-options.js';
import { encodeEnded } from './notes.js';
import type { Place } from './place.js';
import { LINGER_US } from './reception.js';
import { GATEWAY_INDEX, placeName } from './plan.js';
import { placesOf } from './routing.js';
import { remainingMs } from './time-left.js';
import type { Ticket } from './ticket.js';
import type { UnderWay } from './under-way.js';

/** After so many ms without a request the places of a pipeline sleep. */
const REST_MS = 5;
/** How fast a request is copied into the memory that it is sent from. */
const COPIED_BYTES_PER_US = 2 ** 13;
const NO_BLOCKS: readonly Block[] = [];

export class Dispatcher {
  private readonly options: GatewayOptions;
  private readonly place: Place;
  private readonly underWay: UnderWay;
  private readonly onSettled: () => void;
  private readonly firstRuns: Uint32Array;
  private lastWakeMs = Number.NEGATIVE_INFINITY; // when no other request was under way

  /** @param onSettled called when the first stages have acknowledged a request */
  constructor(options: GatewayOptions, place: Place, underWay: UnderWay, onSettled: () => void) {
    this.options = options;
    this.place = place;
    this.underWay = underWay;
    this.onSettled = onSettled;
    this.firstRuns = new Uint32Array(options.graph.spec.stages.length);
  }

  /**
   * Sends a request, which is under way by now.
   *
   * @param isWatched places report what becomes of it
   * @returns false when there is no memory for it now: nothing was sent
   * @throws as Place.transmit
   */
  send(ticket: Ticket, admitted: AdmittedRequest, isWatched: boolean): boolean {
    const { place, underWay } = this;
    const { self, incarnation } = this.options;
    const { outgoing } = ticket;
    const envelope: Envelope = {
      flags: (ticket.traced ? Flag.TRACED : 0) | (isWatched ? Flag.WATCHED : 0),
      plan: admitted.plan.number,
      gateway: self.instance,
      gatewayRun: incarnation,
      ticket: ticket.number,
      attempt: ticket.attempt,
      finishedBelow: underWay.oldest,
      fromStage: GATEWAY_INDEX,
      fromInstance: self.instance,
      incarnation,
      remainingMs: remainingMs(ticket.deadlineUs, place.nowUs()),
      sentAtUs: 0,
      host: 0,
      queueUs: 0,
      computeUs: 0,
      task: 0,
      piece: NO_STREAM,
      pieces: NO_STREAM,
      route: admitted.route,
      runs: this.firstRuns,
      bodyBytes: 0,
      partCount: 0,
      traceBytes: 0,
      tableBytes: 0,
      metaBytes: 0,
      block: undefined,
    };
    const targets = place.receiversOf(admitted.plan, self.instance, admitted.route);
    if (place.mayAnnounce(outgoing.bytes / COPIED_BYTES_PER_US)) place.announce(targets, place.nowUs());
    if (!place.transmit(envelope, outgoing, targets, NO_BLOCKS, this.onSettled)) return false;
    if (underWay.size === 1) this.wakeOthers(admitted, targets);
    return true;
  }

  // After a rest all places of the route sleep. They wake up together, instead of one after the other.
  private wakeOthers({ plan, route }: AdmittedRequest, first: readonly string[]): void {
    const { place } = this;
    const nowMs = place.nowUs() / 1000;
    const rested = nowMs - this.lastWakeMs > REST_MS;
    this.lastWakeMs = nowMs;
    if (!rested || this.options.pollUs === 0) return;
    for (let stage = 0; stage < route.length; stage++) {
      for (const instance of placesOf(plan, route, stage)) {
        const name = placeName(this.options.graph.spec, { stage, instance });
        if (!first.includes(name)) place.sendNote(name, place.coming);
      }
    }
    place.poller.linger(LINGER_US);
  }

  /** Tells all places of a request that it has ended: its tasks stop there. Nothing when it is not in its places. */
  tellEnded({ admitted, number, attempt }: Ticket): void {
    if (admitted === undefined) return;
    const { plan, route } = admitted;
    const { graph, incarnation } = this.options;
    const note = encodeEnded(this.place.noteHead(incarnation), number, attempt);
    for (let stage = 0; stage < route.length; stage++) {
      for (const instance of placesOf(plan, route, stage)) {
        this.place.sendNote(placeName(graph.spec, { stage, instance }), note);
      }
    }
  }
}
