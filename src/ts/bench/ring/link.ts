// Both ends of the ping-pong of ring-lat: an inbox of one's own, and an outbox to the other's.
//
// Invariant: both processes are the same but for who begins.
import { Inbox, Outbox } from '../../ring/index.js';
import { Device } from '../../verbs/index.js';
import { laneSizes, latencyWarmUpMs, looksOf, type Way } from './settings.js';

/** What two processes of a measurement have in common. */
export interface RingPlace {
  device: string;
  secret: string;
  sizeBytes: number;
  way: Way;
}

/** Looks for one poll of the outbox, which has news only once for a quarter of its lane. */
const LOOKS_PER_OUTBOX_POLL = 64;

/** Messages that may wait to be pulled, and the memory that one takes at least. */
const PULLED_AT_ONCE = 4;
const PULL_PAGE = 4096;

/** A message that is pulled takes no room in the lane. */
const lanesOf = ({ way, sizeBytes }: RingPlace) => laneSizes(way === 'pull' ? 64 : sizeBytes);

export class RingLink {
  readonly inbox: Inbox;
  /** See {@link latencyWarmUpMs}. */
  readonly warmUpMs: number;
  private readonly device: Device;
  private readonly place: RingPlace;
  private outboxOrNone: Outbox | undefined;

  private constructor(place: RingPlace, device: Device, inbox: Inbox) {
    this.place = place;
    this.device = device;
    this.inbox = inbox;
    this.looks = looksOf(device);
    this.warmUpMs = latencyWarmUpMs(device);
  }

  /** @throws as Device.open() and Inbox.listen() */
  static async open(place: RingPlace): Promise<RingLink> {
    const device = Device.open(place.device);
    try {
      const { slots, dataBytes } = lanesOf(place);
      const { secret } = place;
      const maxPullBytes = place.way === 'pull' ? place.sizeBytes : 0;
      const limits = { maxLanes: 1, maxSlots: slots, maxDataBytes: dataBytes, maxPullBytes };
      return new RingLink(place, device, await Inbox.listen({ device, secret, wait: 'busy', ...limits }));
    } catch (error) {
      device.close();
      throw error;
    }
  }

  get port(): number {
    return this.inbox.bootstrap.port;
  }

  get outbox(): Outbox {
    return this.outboxOrNone!;
  }

  /** @throws as Outbox.connect() */
  async connect(port: number): Promise<void> {
    const { device } = this;
    const { secret, sizeBytes, way } = this.place;
    const to = { host: '127.0.0.1', port };
    this.outboxOrNone = await Outbox.connect({
      to,
      secret,
      device,
      wait: 'busy',
      reconnectMs: 0,
      closeMs: 0, // the other side may have stopped polling
      ...lanesOf(this.place),
      ...(way === 'pull' ? { pullAboveBytes: 0, pullBytes: PULLED_AT_ONCE * Math.max(sizeBytes, PULL_PAGE) } : {}),
    });
  }

  async close(): Promise<void> {
    await this.outboxOrNone?.close();
    await this.inbox.close();
    this.device.close();
  }

  private looked = 0;
  private readonly looks: number;

  /** What is to be done again and again while waiting. */
  poll(visit: Parameters<Inbox['poll']>[0]): void {
    this.inbox.poll(visit, this.looks);
    this.looked += this.looks;
    if (this.looked < LOOKS_PER_OUTBOX_POLL) return;
    this.looked = 0;
    this.outbox.poll();
  }
}
