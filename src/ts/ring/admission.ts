// The decision which outbox gets a lane, and how large a lane.
//
// Invariant: a producer has at most one lane: the old one is fenced before the new one is made. The completion queue
// can never overrun, as the lanes together never have more receives and sends than it takes. It remembers what was
// delivered from a producer, so that nothing is delivered twice; a producer that had to be forgotten is refused when it
// comes back.
import { RdmaError } from '../core/errors.js';
import type { Offer } from './negotiation-messages.js';
import type { Limits } from './inbox-options.js';
import type { Lane } from './lane.js';
import { type LaneShape, SEND_DEPTH } from './lane-memory.js';
import { ProducerProgress } from './producer-progress.js';

/** Producers without a lane that are remembered with what they have unacknowledged; newcomers wait beyond. */
const MAX_AWAY = 1024;
/**
 * Producers that are remembered by a number alone, as everything of theirs is acknowledged; beyond, they are forgotten.
 */
const MAX_SETTLED = 65536;
/** Slots that a greedy lane leaves to each lane that may come, when the completion queue is short. */
const RESERVED_SLOTS = 16;
/** Fenced lanes whose messages are still held, at least this many or twice the lanes, before new ones are put off. */
const MIN_ENDED_LANES = 16;

/** So many lanes are looked at in each poll of a busy inbox; those of other producers announce their messages. */
const MAX_POLLED_LANES = 16;

export class Admission {
  readonly limits: Limits;
  /** Lanes by their number. */
  readonly lanes: (Lane | undefined)[];
  private readonly deviceName: string;
  private readonly transport: string;
  private readonly capacity: number; // of the completion queue
  private completionsInUse = 0; // what the lanes can have outstanding
  private count = 0;
  private readonly byProducer = new Map<string, ProducerProgress<Lane>>();
  private readonly settled = new Map<string, number>(); // last sequence, by producer
  private readonly identity: string;
  private ended: Lane[] = []; // fenced lanes with views that are still held

  constructor(limits: Limits, identity: string, deviceName: string, transport: string, capacity: number) {
    this.identity = identity;
    this.limits = limits;
    this.deviceName = deviceName;
    this.transport = transport;
    this.capacity = capacity;
    this.lanes = new Array<Lane | undefined>(limits.lanes).fill(undefined);
  }

  /** @throws RdmaError RDMA_ERR_REFUSED when the producer is on a device of another kind */
  checkTransport(offer: Offer): void {
    if (offer.transport === this.transport) return;
    const text = `the producer is on a ${offer.transport} device, the inbox on ${this.deviceName}`;
    throw new RdmaError('RDMA_ERR_REFUSED', text, { remedy: 'open both on the same kind of device' });
  }

  /** The lane that a producer has now. */
  laneOf(producer: string): Lane | undefined {
    return this.byProducer.get(producer)?.lane;
  }

  /**
   * Finds a number and a size for a producer that has no lane.
   *
   * @throws RdmaError RDMA_ERR_PROTOCOL when it remembers another history; RDMA_ERR_BUSY when there is no lane now, and
   *   may be one later; RDMA_ERR_REFUSED when there never will be
   */
  admit(offer: Offer): { id: number; progress: ProducerProgress<Lane>; shape: LaneShape } {
    const progress = this.progressOf(offer);
    const { limits } = this;
    const id = this.lanes.indexOf(undefined);
    if (id < 0) {
      // A lane may become free: the outbox tries again for as long as it is willing to.
      throw new RdmaError('RDMA_ERR_BUSY', `all ${limits.lanes} lanes are taken`, { remedy: 'raise maxLanes' });
    }
    const ended = this.endedLanes;
    if (ended >= Math.max(MIN_ENDED_LANES, 2 * limits.lanes)) {
      throw new RdmaError('RDMA_ERR_BUSY', `messages of ${ended} lanes that have ended are not released yet`);
    }
    const slots = Math.min(offer.slots, limits.slots, this.slotsLeft());
    if (slots < 1) {
      const text = `the completion queue of ${this.deviceName} has no room for another lane`;
      throw new RdmaError('RDMA_ERR_REFUSED', text, { remedy: 'lower maxLanes or maxSlots' });
    }
    const dataBytes = Math.floor(Math.min(offer.dataBytes, limits.dataBytes) / 64) * 64;
    const inPlace = offer.inPlace && limits.inPlace && this.transport === 'soft';
    const wanted = Math.min(offer.inlineBytes, limits.inlineBytes);
    const polled = (inPlace || wanted > 0) && limits.wait === 'busy' && this.polledLanes < MAX_POLLED_LANES;
    // Into a lane that is mapped and not looked at, bytes are stored and the descriptor is written: one WRITE either
    // way.
    const inlineBytes = inPlace && !polled ? 0 : wanted;
    return { id, progress, shape: { slots, dataBytes, inlineBytes, inPlace, polled } };
  }

  private get polledLanes(): number {
    return this.lanes.reduce((count, lane) => count + (lane?.polled === true ? 1 : 0), 0);
  }

  private progressOf(offer: Offer): ProducerProgress<Lane> {
    const { producer, name, retainMessages, acknowledged } = offer;
    const known = this.byProducer.get(producer);
    if (known !== undefined) {
      if (retainMessages !== known.retainMessages) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', 'the producer remembers another history than the inbox');
      }
      // Another inbox took and acknowledged what was under way here.
      known.skipTo(acknowledged);
      return known;
    }
    if (this.away >= MAX_AWAY) this.settle();
    const last = this.settled.get(producer);
    if (last === undefined && offer.inbox === this.identity) {
      const text = `${name} was away for so long that the inbox has forgotten what it delivered`;
      throw new RdmaError('RDMA_ERR_REFUSED', text, {
        remedy: 'open a new outbox; the old one says what it still holds',
      });
    }
    if (this.away >= MAX_AWAY) {
      throw new RdmaError('RDMA_ERR_BUSY', `${MAX_AWAY} producers are away whose messages are not acknowledged`);
    }
    return new ProducerProgress(producer, name, retainMessages, Math.max(acknowledged, last ?? 0));
  }

  /** The lane is there. */
  add(lane: Lane): void {
    const { progress } = lane;
    this.lanes[lane.id] = lane;
    this.count++;
    this.completionsInUse += lane.slots + SEND_DEPTH;
    this.settled.delete(progress.producer);
    this.byProducer.set(progress.producer, progress);
  }

  // Producers that are remembered and have no lane.
  private get away(): number {
    return this.byProducer.size - this.count;
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
  allProgress(): Iterable<ProducerProgress<Lane>> {
    return this.byProducer.values();
  }

  // How many slots the next lane may have, so that the completion queue can never overrun.
  private slotsLeft(): number {
    const share = Math.floor(this.capacity / this.limits.lanes);
    const laneless = this.limits.lanes - this.count - 1;
    return this.capacity - this.completionsInUse - laneless * Math.min(share, RESERVED_SLOTS + SEND_DEPTH) - SEND_DEPTH;
  }

  // Of those who are away, and have nothing that is unacknowledged, a number is enough.
  private settle(): void {
    for (const [producer, progress] of this.byProducer) {
      if (progress.lane !== undefined || progress.delivered > progress.acknowledged) continue;
      this.byProducer.delete(producer);
      this.settled.set(producer, progress.delivered);
    }
    for (const producer of this.settled.keys()) {
      if (this.settled.size <= MAX_SETTLED) return;
      this.settled.delete(producer);
    }
  }
}
