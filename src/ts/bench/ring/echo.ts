// Answers each message with one of its own, as the process that began does.
//
// Invariant: answers in the order of arrival, and returns to its event loop often enough to hear its parent.
import { setImmediate as turn } from 'node:timers/promises';
import type { Lane } from '../../ring/index.js';
import { RingLink, type RingPlace } from './link.js';
import { Reader, type Until } from './reader.js';
import { makeSender, type Sender } from './sender.js';

const POLLS_PER_TURN = 4096;

export class Echo {
  /** How long each recorded answer took to be written, in ms. */
  writes = new Float64Array(0);
  private readonly link: RingLink;
  private readonly place: RingPlace;
  private readonly reader: Reader;
  private sender: Sender | undefined;
  private round = 0;
  private recorded = 0;
  private pulling: Promise<void> | undefined;

  private constructor(link: RingLink, place: RingPlace) {
    this.link = link;
    this.place = place;
    this.reader = new Reader(place.sizeBytes);
  }

  static async open(place: RingPlace): Promise<Echo> {
    return new Echo(await RingLink.open(place), place);
  }

  get port(): number {
    return this.link.port;
  }

  async connect(port: number): Promise<void> {
    await this.link.connect(port);
    this.sender = makeSender(this.link.outbox, this.place.sizeBytes, this.place.way);
    void this.serve();
  }

  rounds(until: Until, record: number): void {
    this.reader.until = until;
    this.writes = new Float64Array(record);
    this.recorded = 0;
  }

  private readonly visit = (lane: Lane): void => {
    if (!lane.isPulled) {
      this.reader.take(lane, this.round);
      this.answer();
      this.reader.done(lane);
      return;
    }
    this.pulling = this.reader.pull(lane, this.round).then(() => {
      this.pulling = undefined;
      this.answer();
    });
  };

  private answer(): void {
    const { link, sender } = this;
    while (!sender!.try(this.round)) link.outbox.poll();
    if (this.recorded < this.writes.length) this.writes[this.recorded++] = sender!.writeMs;
    this.round++;
  }

  private async serve(): Promise<void> {
    const { link, visit } = this;
    while (link.outbox.connected) {
      for (let i = 0; i < POLLS_PER_TURN; i++) {
        link.poll(visit);
        if (this.pulling !== undefined) await null;
      }
      await turn();
    }
    await link.close();
  }
}
