// A process of the simulation: what runs in it, stops with it and dies with it.
//
// Invariant: nothing of a stopped process runs until it is continued; a dead one never runs again, and calls that its
// code still makes on the way out have no effect.
import type { Clock } from '../ring/port.js';
import { type EventOwner, type Scheduler, Sequence, type SimEvent } from './scheduler.js';

/** Thrown into the code of a process at the call in which it dies. */
export class ProcessDied extends Error {
  constructor(name: string) {
    super(`process ${name} of the simulation has died`);
  }
}

/** How long the event loop takes to come round, in ms. */
const TURN_MS = { low: 0.0005, high: 0.2 };
/** What a look at the clock takes, so that a loop that waits for time to pass ends. */
const LOOK_MS = 0.0002;

export class SimProcess implements EventOwner {
  readonly name: string;
  state: 'running' | 'stopped' | 'dead' = 'running';
  readonly clock: Clock;
  /** Called when it dies: what the system does then. */
  readonly onDeath: (() => void)[] = [];
  private readonly scheduler: Scheduler;

  constructor(name: string, scheduler: Scheduler) {
    this.name = name;
    this.scheduler = scheduler;
    const turns = new Sequence<() => void>(
      scheduler,
      () => this,
      true,
      () => scheduler.choices.delay(TURN_MS.low, TURN_MS.high),
      (call) => call(),
    );
    this.clock = {
      now: () => {
        scheduler.spend(LOOK_MS);
        return scheduler.nowMs;
      },
      after: (ms, call) => {
        const event = this.later(ms, call);
        return () => {
          event.cancelled = true;
        };
      },
      soon: (call) => turns.push(call),
    };
  }

  /** Runs code of this process in `ms`, if it lives and is not stopped then. */
  later(ms: number, call: () => void): SimEvent {
    return this.scheduler.add(ms, this, true, call);
  }

  stop(): void {
    if (this.state === 'running') this.state = 'stopped';
  }

  continue(): void {
    if (this.state === 'stopped') this.state = 'running';
  }

  crash(): void {
    if (this.state === 'dead') return;
    this.state = 'dead';
    for (const call of this.onDeath.splice(0)) call();
  }

  /** Checks at the door of every system call. @throws ProcessDied */
  checkAlive(): void {
    if (this.state === 'dead') throw new ProcessDied(this.name);
  }
}
