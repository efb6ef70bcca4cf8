// Virtual time and what happens in it, one event at a time.
//
// Invariant: between two events all microtasks of the code under test have run, so an event sees a process at rest. An
// event of a stopped process waits; one of a dead process never happens. Time never goes back.
import type { Choices } from './choices.js';

/** Something that must never happen, whatever is chosen: a property is broken. */
export class SimDefect extends Error {}

/** What the scheduler has to know of a process. */
export interface EventOwner {
  readonly state: 'running' | 'stopped' | 'dead';
}

/** Something that is going to happen, once. */
export interface SimEvent {
  readonly atMs: number;
  /** Whose it is: it waits while that process is stopped. Without one it is the network's. */
  readonly owner: EventOwner | undefined;
  /** True when it runs code under test, so that microtasks have to run after it. */
  readonly code: boolean;
  readonly run: () => void;
  cancelled: boolean;
}

/** The events of one run. */
export class Scheduler {
  readonly choices: Choices;
  /** Events that have happened. */
  steps = 0;
  /** Whose code ran in the last step; undefined: anybody's may have. */
  ran: EventOwner | undefined;
  /** Called before each step, at rest. */
  onStep: (() => void) | undefined;
  /** Called before code of a process runs; undefined: of anybody. */
  onCode: ((owner: EventOwner | undefined) => void) | undefined;
  /** Told of what an event throws. */
  onError: ((error: unknown) => void) | undefined;
  private time = 0;
  private events: SimEvent[] = []; // in the order in which they were made
  private readonly ready: SimEvent[] = [];

  constructor(choices: Choices) {
    this.choices = choices;
  }

  /** Virtual milliseconds since the run began. */
  get nowMs(): number {
    return this.time;
  }

  /** Code takes time: moves the clock on while an event runs. */
  spend(ms: number): void {
    this.time += ms;
  }

  /** Makes an event, `afterMs` from now. */
  add(afterMs: number, owner: EventOwner | undefined, code: boolean, run: () => void): SimEvent {
    const event: SimEvent = { atMs: this.time + afterMs, owner, code, run, cancelled: false };
    this.events.push(event);
    return event;
  }

  /**
   * Lets events of the device happen in the middle of an event of a process, as a device does not wait for code. Their
   * `run` must not call code under test.
   */
  interleave(costMs: number): void {
    if (this.choices.exhaustive) {
      if (!this.collect(true)) return;
      const { ready } = this;
      const count = ready.length;
      const answer = this.choices.pick(count + 1, 'order');
      if (answer > 0) this.happen(ready[answer - 1]!);
      return;
    }
    this.time += costMs;
    while (this.collect(true)) this.happen(this.earliest());
  }

  /** What happens next; undefined when nothing can. The clock is moved to it. */
  take(): SimEvent | undefined {
    if (!this.collect(false)) {
      const time = this.nextTime();
      if (time === Number.POSITIVE_INFINITY) return undefined;
      this.time = time;
      this.collect(false);
    }
    const event = this.choices.exhaustive
      ? this.ready[this.choices.pick(this.ready.length, 'order')]!
      : this.earliest();
    this.remove(event);
    return event;
  }

  private happen(event: SimEvent): void {
    this.remove(event);
    this.steps++;
    this.perform(event);
  }

  private perform(event: SimEvent): void {
    try {
      event.run();
    } catch (error) {
      if (this.onError === undefined) throw error;
      this.onError(error);
    }
  }

  // Fills `ready` with what may happen now; false when there is none.
  private collect(deviceOnly: boolean): boolean {
    const { ready, events, time } = this;
    ready.length = 0;
    for (let i = 0; i < events.length; i++) {
      const event = events[i]!;
      if (event.atMs > time || event.cancelled || (deviceOnly && event.code)) continue;
      if (event.owner === undefined || event.owner.state === 'running') ready.push(event);
    }
    return ready.length > 0;
  }

  private earliest(): SimEvent {
    let first = this.ready[0]!;
    for (const event of this.ready) if (event.atMs < first.atMs) first = event;
    return first;
  }

  private nextTime(): number {
    let time = Number.POSITIVE_INFINITY;
    let dropped = false;
    for (const event of this.events) {
      if (event.cancelled || event.owner?.state === 'dead') dropped = true;
      else if (event.owner?.state !== 'stopped' && event.atMs < time) time = event.atMs;
    }
    if (dropped) this.events = this.events.filter((event) => !event.cancelled && event.owner?.state !== 'dead');
    return time;
  }

  private remove(event: SimEvent): void {
    this.events.splice(this.events.indexOf(event), 1);
  }

  /**
   * Runs events until `done` answers true at rest, nothing can happen any more, or the clock passes `untilMs`.
   *
   * @returns whether `done` has answered true
   */
  run(done: () => boolean, untilMs: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const turn = () => {
        try {
          for (;;) {
            this.onStep?.();
            if (done()) return resolve(true);
            const event = this.take();
            if (event === undefined || this.time > untilMs) return resolve(false);
            this.steps++;
            this.ran = event.owner;
            if (event.code) this.onCode?.(event.owner);
            this.perform(event);
            if (event.code) break;
          }
          // Everything that the event has set going in microtasks is over when this comes.
          setImmediate(turn);
        } catch (error) {
          reject(error);
        }
      };
      setImmediate(turn);
    });
  }
}

/** Things that happen one after the other, never two in the wrong order: a wire, a queue of calls. */
export class Sequence<Item> {
  private readonly items: Item[] = [];
  private pending: SimEvent | undefined;
  private readonly scheduler: Scheduler;
  private readonly owner: () => EventOwner | undefined;
  private readonly code: boolean;
  private readonly delayMs: () => number;
  private readonly handle: (item: Item) => void;

  constructor(
    scheduler: Scheduler,
    owner: () => EventOwner | undefined,
    code: boolean,
    delayMs: () => number,
    handle: (item: Item) => void,
  ) {
    this.scheduler = scheduler;
    this.owner = owner;
    this.code = code;
    this.delayMs = delayMs;
    this.handle = handle;
  }

  push(item: Item): void {
    this.items.push(item);
    this.schedule();
  }

  /** Forgets what has not happened yet. */
  clear(): void {
    this.items.length = 0;
  }

  private schedule(): void {
    if (this.pending !== undefined || this.items.length === 0) return;
    this.pending = this.scheduler.add(this.delayMs(), this.owner(), this.code, () => {
      this.pending = undefined;
      const item = this.items.shift();
      this.schedule();
      if (item !== undefined) this.handle(item);
    });
  }
}
