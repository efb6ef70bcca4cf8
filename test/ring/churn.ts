// Lanes opened and closed again and again. Invariant: each lane carries messages before it ends, in every way in which
// a lane can end; what is measured at the end is what the process has kept.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Inbox, InboxMessage, Outbox } from '../../src/ts/ring/index.js';
import { collect } from '../garbage.js';
import { breakConnection, content, hasContent, openInbox, openOutbox, until } from './support.js';

export interface Churn {
  lanes: number;
  messages: number;
  fences: number;
  /** Resident bytes after the warming up, and at the end. */
  beforeBytes: number;
  afterBytes: number;
}

// What is resident once garbage is collected: what native objects hold is freed some turns later.
async function residentBytes(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    collect();
    await sleep(50);
    least = Math.min(least, process.memoryUsage.rss());
  }
  return least;
}

const PULLED_BYTES = 20_000;

/** One lane after another until `lanes` were opened; some messages through each. */
class Churner {
  messages = 0;
  private inbox!: Inbox;
  private wrong: string | undefined;

  async open(): Promise<void> {
    this.inbox = await openInbox({
      maxLanes: 4,
      maxPullBytes: PULLED_BYTES,
      onMessage: (message) => void this.take(message),
    });
  }

  get lanesOpened(): number {
    return this.inbox.counters.lanesOpened;
  }

  private async take(message: InboxMessage): Promise<void> {
    if (message.isPulled) await message.pull();
    this.messages++;
    if (!hasContent(message.bytes, message.sequence)) this.wrong ??= `message ${message.sequence} has other bytes`;
    message.done();
  }

  /** One outbox, with one lane or two. */
  async round(n: number): Promise<void> {
    const outbox = await openOutbox(this.inbox, { checksum: n % 3 === 0, inPlace: n % 2 === 0 });
    await this.send(outbox, n);
    if (n % 4 === 0) {
      breakConnection(outbox);
      await this.send(outbox, n);
    }
    await outbox.close();
    await until('the lane is fenced', () => this.inbox.laneCount === 0);
    if (this.wrong !== undefined) throw new Error(this.wrong);
    if (this.inbox.counters.quarantined > 0) throw new Error('memory was quarantined');
  }

  private async send(outbox: Outbox, n: number): Promise<void> {
    for (const length of [10, 4096, n % 8 === 0 ? PULLED_BYTES : 0])
      await outbox.send(content(outbox.sequence + 1, length));
    await outbox.whenAcknowledged(undefined, { timeoutMs: 60_000 });
  }

  get fences(): number {
    return this.inbox.counters.fences;
  }

  async close(): Promise<void> {
    await this.inbox.close();
  }
}

/** @throws Error when a message is not what was sent, or a lane does not end */
export async function churn(lanes: number, onProgress: (lanes: number) => void = () => {}): Promise<Churn> {
  const churner = new Churner();
  await churner.open();
  // The inbox remembers a thousand producers that have left, with what each of them may have unacknowledged.
  const warmUp = Math.min(1500, lanes / 2);
  let beforeBytes = 0;
  for (let n = 0; churner.lanesOpened < lanes; n++) {
    if (beforeBytes === 0 && churner.lanesOpened >= warmUp) {
      beforeBytes = await residentBytes();
    }
    await churner.round(n);
    if (n % 100 === 0) onProgress(churner.lanesOpened);
  }
  const afterBytes = await residentBytes();
  const { messages, fences, lanesOpened } = churner;
  await churner.close();
  return { lanes: lanesOpened, messages, fences, beforeBytes, afterBytes };
}
