// Moves the completions of promises from one completion queue to their operations.
//
// Invariant: a completion is seen once: by its promise if its wrId is one of ours, else by whoever calls poll(), in the
// order in which the device gave it. While no promise waits, the pump does nothing and costs nothing.
//
// Waiting is adaptive: a few turns of the event loop with a poll each, then the queue is armed and the loop sleeps on
// the channel. A queue without a channel is polled at every turn for as long as a promise waits.
import type { CompletionQueue } from './completion-queue.js';
import { type Operation, operationOf } from './operation.js';

const SPIN_TURNS = 16;

/** One for each completion queue. */
export class CompletionPump {
  /** Whether poll() has to go through here: a promise waits, or completions of others were set aside. */
  busy = false;
  private waiting = 0;
  private aside: Float64Array[] = [];
  private turns = 0;
  private scheduled: NodeJS.Immediate | undefined;

  constructor(private readonly queue: CompletionQueue) {}

  /** A promise waits for a completion in this queue. */
  hold(count = 1): void {
    if (count === 0) return;
    this.waiting += count;
    this.busy = true;
    this.turns = 0;
    this.wait();
  }

  release(count = 1): void {
    if (count === 0) return;
    this.waiting -= count;
    if (this.waiting > 0) return;
    this.sleepNoMore();
    this.busy = this.aside.length > 0;
  }

  /** What CompletionQueue.poll does while the pump is busy. */
  poll(max: number, looks: number): number {
    const { completions } = this.queue;
    const limit = Math.min(max, completions.capacity);
    if (this.aside.length > 0) {
      const count = Math.min(limit, this.aside.length);
      for (let i = 0; i < count; i++) completions.load(i, this.aside[i]!);
      this.aside.splice(0, count);
      this.busy = this.waiting > 0 || this.aside.length > 0;
      return count;
    }
    // Until the device has nothing more, or there is something for the caller: 0 must mean "none".
    for (;;) {
      const count = this.queue.pollAll(limit, looks);
      if (count === 0) return 0;
      const others = this.deliver(count);
      if (others > 0) return others;
      if (this.queue.closed) return 0;
    }
  }

  /** Takes what there is, for the promises; sets the rest aside for poll(). */
  drive(): void {
    if (this.waiting === 0 || this.queue.closed) return;
    while (this.takeAside()) {
      if (this.queue.closed || this.waiting === 0) return;
      this.turns = 0;
    }
    this.wait();
  }

  /** The queue has closed. */
  stop(): void {
    this.sleepNoMore();
    this.aside = [];
    this.busy = false;
  }

  /** Settles what belongs to promises and moves the others together; returns how many those are. */
  private deliver(count: number): number {
    const { completions } = this.queue;
    const finished: Operation[] = [];
    let others = 0;
    for (let i = 0; i < count; i++) {
      const operation = operationOf(completions.wrId(i));
      if (operation === undefined) {
        if (others !== i) completions.copyWithin(others, i);
        others++;
      } else {
        operation.note(completions, i);
        finished.push(operation);
      }
    }
    // After the records were read: settling can run code that polls.
    for (const operation of finished) operation.finish();
    return others;
  }

  private wait(): void {
    if (this.queue.closed) return;
    const { channel } = this.queue;
    if (channel === undefined || this.turns < SPIN_TURNS) {
      this.turns++;
      this.scheduled ??= setImmediate(() => {
        this.scheduled = undefined;
        this.drive();
      });
      return;
    }
    if (channel.sleepers.has(this)) {
      // Woken for nothing: armed again, and looked once more, as what came before the arming raises no event.
      this.arm();
      return;
    }
    channel.sleep(this);
    this.arm();
  }

  private arm(): void {
    this.queue.requestNotify();
    if (!this.takeAside() || this.waiting === 0) return;
    this.turns = 0;
    this.sleepNoMore();
    this.wait();
  }

  /** One poll: settles what belongs to promises and sets the rest aside; whether there was anything. */
  private takeAside(): boolean {
    const { completions } = this.queue;
    const count = this.queue.pollAll(completions.capacity);
    const others = count === 0 ? 0 : this.deliver(count);
    for (let i = 0; i < others; i++) this.aside.push(completions.save(i));
    if (others > 0) this.busy = true;
    return count > 0;
  }

  private sleepNoMore(): void {
    this.queue.channel?.leave(this);
    if (this.scheduled !== undefined) clearImmediate(this.scheduled);
    this.scheduled = undefined;
  }
}
