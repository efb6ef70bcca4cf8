// An inbox: one consumer, any number of producers, a lane for each. The application sees this file; consumer.ts puts
// together the parts that do the work.
//
// Invariant: nothing that a producer does, or fails to do, affects more than its lane. For each producer incarnation
// the application sees messages 1..n in order, each once. A lane is fenced (queue pair destroyed, key revoked) before
// another lane of the same producer begins.
import { RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import { Consumer } from './consumer.js';
import type { InboxLoop } from './inbox-loop.js';
import type { InboxOptions } from './inbox-options.js';
import type { Lane } from './lane.js';
import type { InboxMessage } from './message.js';
import type { RingPort } from './port.js';
import type { InboxCounters, InboxStatus } from './status.js';
import { systemPort } from './system-port.js';

/** Made by {@link Inbox.listen}. An async iterable of messages when no `onMessage` is given. */
export class Inbox implements AsyncIterable<InboxMessage>, AsyncDisposable {
  /** Identity of this incarnation, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums over all lanes since the inbox was opened. */
  readonly counters: InboxCounters;
  private readonly consumer: Consumer;
  private readonly loop: InboxLoop;

  private constructor(consumer: Consumer) {
    this.identity = consumer.identity;
    this.counters = consumer.counters;
    this.consumer = consumer;
    this.loop = consumer.loop;
  }

  /**
   * Opens an inbox.
   *
   * @returns the inbox, ready for producers at {@link Inbox.bootstrap}
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_NO_DEVICE; EADDRINUSE and EACCES for the port; ENOMEM
   */
  static async listen(options: InboxOptions): Promise<Inbox> {
    return Inbox.listenOn(systemPort, options);
  }

  /** @internal The same on another port. */
  static async listenOn(port: RingPort, options: InboxOptions): Promise<Inbox> {
    const inbox = new Inbox(new Consumer(options, port));
    try {
      await inbox.consumer.listen(options);
    } catch (error) {
      await inbox.close();
      throw error;
    }
    return inbox;
  }

  /** Where producers connect. */
  get bootstrap(): { host: string; port: number } {
    return this.consumer.listener.address;
  }

  /** Name of the device that carries the bytes. */
  get deviceName(): string {
    return this.consumer.device.name;
  }

  /** Producers connected now. */
  get laneCount(): number {
    return this.consumer.lanesByQp.size;
  }

  /** What an operator asks, per lane and in sum. Computed at each call; not for hot loops. */
  status(): InboxStatus {
    return this.consumer.status();
  }

  // ---- Delivering

  /**
   * The loop form, for `wait: 'busy'`: handles what has arrived. `visit` is called with the lane for each message:
   * `lane.data`, `lane.offset`, `lane.length`, `lane.sequence`; it calls `lane.release(sequence)` and
   * `lane.acknowledge(sequence)` then or later. Allocates nothing. Reports go back when a quarter of a lane is released
   * (half of one that alone is polled), and after 512 looks, of which 16 of each poll count, or one in 32; of a lane
   * that alone is polled two count as one; or after 0.1 ms.
   *
   * What `visit` throws comes out of here; the message counts as delivered, and the next poll goes on behind it.
   *
   * ```js
   * // loop.mjs
   * import { setImmediate as turn } from 'node:timers/promises';
   * import { Inbox, Outbox } from 'onepiece-rdma/ring';
   *
   * const secret = 'only the two of us';
   * const inbox = await Inbox.listen({ secret, wait: 'busy' });
   * const outbox = await Outbox.connect({ to: inbox.bootstrap, secret, wait: 'busy', slots: 16 });
   * let sum = 0;
   * let count = 0;
   * const visit = (lane) => {
   *   sum += lane.data[lane.offset];
   *   count++;
   *   lane.release(lane.sequence); // the space may be used again
   *   lane.acknowledge(lane.sequence); // the producer may forget the message
   * };
   * let place;
   * for (let sent = 0; count < 1000; inbox.poll(visit), outbox.poll()) {
   *   const next = sent < 1000 ? outbox.tryReserve(1, place) : undefined;
   *   if (next !== undefined) {
   *     next.data[next.offset] = 7;
   *     next.commit(1);
   *     place = next;
   *     sent++;
   *   }
   *   if (sent % 100 === 0) await turn(); // timers and sockets get their turn
   * }
   * console.log(count, sum);
   * await outbox.close();
   * await inbox.close();
   * // prints: 1000 7000
   * ```
   *
   * @param visit may be left out with `onMessage`, which gets the messages then
   * @param looks 1 to 2^20, default 1: how often to look before answering 0, as in {@link CompletionQueue.poll}: with
   *   more than one, whoever waits for this processor gets it now and then, which soft-RoCE needs where there are few
   * @returns how many completions there were, and messages; 0 when there was nothing to do
   * @throws RdmaError RDMA_ERR_CLOSED; RDMA_ERR_INVALID_ARGUMENT
   */
  poll(visit: ((lane: Lane) => void) | undefined = this.loop.visit, looks = 1): number {
    return this.loop.poll(visit, looks);
  }

  /** The messages, for `for await`; they end when the inbox is closed. @throws RdmaError with `onMessage` */
  [Symbol.asyncIterator](): AsyncIterator<InboxMessage> {
    if (this.loop.visit !== undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'an inbox with onMessage is not iterable');
    }
    return this.consumer.queue.iterate();
  }

  // ---- End

  /**
   * Takes no new producer, asks every producer to send nothing more, goes on delivering what was sent, and closes the
   * inbox when all of it is acknowledged and the producers have left. What they still hold goes to whom their `to`
   * finds next. A second call answers the same promise.
   *
   * @param timeoutMs after it, drain() closes anyway, 1 to 2^31 - 1; default 30 000
   */
  drain(timeoutMs = 30_000): Promise<void> {
    checkInteger('timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
    return this.consumer.closer.drain(timeoutMs);
  }

  /**
   * Tells producers what was acknowledged, ends every lane and closes what the inbox owns. No message is delivered any
   * more; views of messages have length 0 when it has ended; what was not acknowledged stays with its producer. A
   * second call answers the same promise.
   */
  close(): Promise<void> {
    return this.consumer.closer.close();
  }

  /** As {@link Inbox.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
