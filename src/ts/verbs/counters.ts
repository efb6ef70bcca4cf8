// What happened to a queue so far.
//
// Invariant: numbers lie in memory that native code writes; reading them costs no call and can be done at any time.
// They only grow. After close() they stay as they were at the end.

const CQ = ['polls', 'emptyPolls', 'completions', 'errors', 'bytesReceived', 'wakes'] as const;
const QP = [
  'sendsPosted',
  'receivesPosted',
  'bytesPosted',
  'sendsCompleted',
  'receivesCompleted',
  'bytesReceived',
  'errors',
  'doorbells',
] as const;

/**
 * Of a completion queue: polls (each look of a poll that looks often), polls that brought nothing, completions (errors
 * included), those with an error, bytes that came by them, events that its channel has taken.
 */
export type CompletionQueueCounters = Readonly<Record<(typeof CQ)[number], number>>;

/**
 * Of a queue pair: work requests posted to both queues, bytes of the posted sends, completions polled (of sends,
 * signaled ones only), bytes that came by receives and READs, completions with an error, calls that posted sends.
 */
export type QueuePairCounters = Readonly<Record<(typeof QP)[number], number>>;

/** @internal A live view: each property is read from shared memory when it is asked for. */
export class Counters<K extends string> {
  readonly #names: readonly K[];
  readonly #live: Float64Array;
  #last: Float64Array | undefined;

  constructor(names: readonly K[], memory: ArrayBuffer) {
    this.#names = names;
    this.#live = new Float64Array(memory);
    for (const [i, name] of names.entries()) {
      Object.defineProperty(this, name, { enumerable: true, get: () => this.#at(i) });
    }
  }

  #at(index: number): number {
    return this.#live[index] ?? this.#last?.[index] ?? 0;
  }

  /** Keeps the numbers for when the memory has gone. */
  keep(): void {
    if (this.#live.length > 0) this.#last = this.#live.slice();
  }

  toJSON(): Record<K, number> {
    return Object.fromEntries(this.#names.map((name, i) => [name, this.#at(i)])) as Record<K, number>;
  }
}

type Live<T> = Counters<keyof T & string> & T;

/** @internal */
export function completionQueueCounters(memory: ArrayBuffer): Live<CompletionQueueCounters> {
  return new Counters(CQ, memory) as Live<CompletionQueueCounters>;
}

/** @internal */
export function queuePairCounters(memory: ArrayBuffer): Live<QueuePairCounters> {
  return new Counters(QP, memory) as Live<QueuePairCounters>;
}
