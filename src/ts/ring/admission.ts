// Who gets a lane, and how large a one.
//
// Invariant: a producer has at most one lane: the old one is fenced before the new one is made. The completion queue can
// never overrun, as the lanes together never have more receives and sends than it takes. What a producer did to the
// inbox is remembered as long as it may come back, for a bounded number of producers.
import { RdmaError } from '../core/errors.js';
import { MAX_DATA_BYTES, MAX_PULL_BYTES, MAX_SLOTS, type Offer } from './documents.js';
import type { InboxOptions } from './inbox.js';
import { SEND_DEPTH, type Lane, type LaneShape } from './lane.js';
import { checkBoolean, checkInteger } from '../core/validate.js';
import { Session } from './session.js';

const REMEMBERED_SESSIONS = 1024;
/** Slots that a greedy lane leaves to each lane that may come, when the completion queue is short. */
const RESERVED_SLOTS = 16;
/** Fenced lanes whose messages are still held, at least this many or twice the lanes, before new ones are put off. */
const MIN_ENDED_LANES = 16;

/** The bounds of an inbox. */
export interface Limits {
  lanes: number;
  slots: number;
  dataBytes: number;
  pullBytes: number;
  inPlace: boolean;
}

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkLimits(options: InboxOptions): Limits {
  return {
    lanes: checkInteger('maxLanes', options.maxLanes ?? 64, 1, 4096),
    slots: checkInteger('maxSlots', options.maxSlots ?? 1024, 1, MAX_SLOTS),
    dataBytes: checkInteger('maxDataBytes', options.maxDataBytes ?? 64 * 2 ** 20, 64, MAX_DATA_BYTES),
    pullBytes: checkInteger('maxPullBytes', options.maxPullBytes ?? 0, 0, MAX_PULL_BYTES),
    inPlace: checkBoolean('inPlace', options.inPlace ?? true),
  };
}

export class Admission {
  readonly limits: Limits;
  /** Lanes by their number. */
  readonly lanes: (Lane | undefined)[];
  private readonly deviceName: string;
  private readonly transport: string;
  private readonly capacity: number; // of the completion queue
  private completionsInUse = 0; // what the lanes can have outstanding
  private count = 0;
  private readonly sessions = new Map<string, Session>();
  private ended: Lane[] = []; // fenced lanes with views that are still held

  constructor(limits: Limits, deviceName: string, transport: string, capacity: number) {
    this.limits = limits;
    this.deviceName = deviceName;
    this.transport = transport;
    this.capacity = capacity;
    this.lanes = new Array<Lane | undefined>(limits.lanes).fill(undefined);
  }

  /** @throws RdmaError RDMA_ERR_REFUSED when the producer is on a device of another kind */
  checkTransport(offer: Offer): void {
    if (offer.transport === this.transport) return;
    const words = `the producer is on a ${offer.transport} device, the inbox on ${this.deviceName}`;
    throw new RdmaError('RDMA_ERR_REFUSED', words, { remedy: 'open both on the same kind of device' });
  }

  /** The lane that a producer has now. */
  laneOf(producer: string): Lane | undefined {
    return this.sessions.get(producer)?.lane;
  }

  /**
   * Finds a number and a size for a producer that has no lane.
   *
   * @throws RdmaError RDMA_ERR_PROTOCOL when it remembers another history; RDMA_ERR_BUSY when there is no lane now, and may
   *   be one later; RDMA_ERR_REFUSED when there never will be
   */
  admit(offer: Offer): { id: number; session: Session; shape: LaneShape } {
    let session = this.sessions.get(offer.producer);
    if (session === undefined) {
      session = new Session(offer.producer, offer.name, offer.retainMessages, offer.acknowledged);
    } else if (offer.acknowledged > session.acknowledged || offer.retainMessages !== session.retainMessages) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', 'the producer remembers another history than the inbox');
    }
    const { limits } = this;
    const id = this.lanes.indexOf(undefined);
    if (id < 0) {
      // One may become free: who asks tries again for as long as it is willing to.
      throw new RdmaError('RDMA_ERR_BUSY', `all ${limits.lanes} lanes are taken`, { remedy: 'raise maxLanes' });
    }
    const ended = this.endedLanes;
    if (ended >= Math.max(MIN_ENDED_LANES, 2 * limits.lanes)) {
      throw new RdmaError('RDMA_ERR_BUSY', `messages of ${ended} lanes that have ended are not released yet`);
    }
    const slots = Math.min(offer.slots, limits.slots, this.slotsLeft());
    if (slots < 1) {
      const words = `the completion queue of ${this.deviceName} has no room for another lane`;
      throw new RdmaError('RDMA_ERR_REFUSED', words, { remedy: 'lower maxLanes or maxSlots' });
    }
    const dataBytes = Math.floor(Math.min(offer.dataBytes, limits.dataBytes) / 64) * 64;
    const inPlace = offer.inPlace && limits.inPlace && this.transport === 'soft';
    return { id, session, shape: { slots, dataBytes, inPlace } };
  }

  /** The lane is there. Answers the producers that are forgotten for it. */
  add(lane: Lane): Session | undefined {
    this.lanes[lane.id] = lane;
    this.count++;
    this.completionsInUse += lane.slots + SEND_DEPTH;
    return this.remember(lane.session);
  }

  /** The lane was fenced. */
  remove(lane: Lane): void {
    if (this.lanes[lane.id] !== lane) return;
    this.lanes[lane.id] = undefined;
    this.count--;
    this.completionsInUse -= lane.slots + SEND_DEPTH;
    this.ended = this.ended.filter((old) => old.held > 0);
    if (lane.held > 0) this.ended.push(lane);
  }

  /** Fenced lanes with messages that are still held. */
  get endedLanes(): number {
    return this.ended.reduce((count, old) => count + (old.held > 0 ? 1 : 0), 0);
  }

  /** Takes the memory of fenced lanes away from views that are still held. */
  closeEnded(): void {
    for (const lane of this.ended) lane.closeMemory();
  }

  /** All that the inbox remembers. */
  allSessions(): Iterable<Session> {
    return this.sessions.values();
  }

  // How many slots the next lane may have, so that the completion queue can never overrun.
  private slotsLeft(): number {
    const share = Math.floor(this.capacity / this.limits.lanes);
    const laneless = this.limits.lanes - this.count - 1;
    return this.capacity - this.completionsInUse - laneless * Math.min(share, RESERVED_SLOTS + SEND_DEPTH) - SEND_DEPTH;
  }

  // The newest last; the oldest without a lane is forgotten.
  private remember(session: Session): Session | undefined {
    this.sessions.delete(session.producer);
    this.sessions.set(session.producer, session);
    if (this.sessions.size <= REMEMBERED_SESSIONS + this.limits.lanes) return undefined;
    for (const [producer, old] of this.sessions) {
      if (old.lane !== undefined) continue;
      this.sessions.delete(producer);
      return old;
    }
    return undefined;
  }
}
