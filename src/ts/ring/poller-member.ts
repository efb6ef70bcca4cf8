// One inbox or outbox of a poller.
//
// Invariant: it leaves its poller once, when it is closed, and its queue is closed before that.
import type { Clock, PortCompletionQueue, PortDevice } from './port.js';
import type { CompletionDriver } from './pump.js';

/** What an inbox or outbox hands to its poller. @internal */
export interface MemberParts {
  kind: 'inbox' | 'outbox';
  device: PortDevice;
  clock: Clock;
  /** Completions that its queue takes. */
  capacity: number;
  /** Handles completions, with so many looks at the queue; answers how many there were. */
  drain: (looks: number) => number;
  /** The moment to send what was held back. */
  beforeSleep: () => void;
}

/** What a member needs of its poller. */
export interface MemberHost {
  readonly counters: CompletionDriver['counters'];
  nowMs(): number;
  /** Looks when the event loop comes round. */
  expect(): void;
  leave(member: PollerMember, device: PortDevice): void;
}

export class PollerMember implements CompletionDriver {
  readonly cq: PortCompletionQueue;
  readonly counters: CompletionDriver['counters'];
  readonly drain: (looks: number) => number;
  readonly beforeSleep: () => void;
  private readonly poller: MemberHost;
  private readonly device: PortDevice;
  private left = false;

  constructor(poller: MemberHost, parts: MemberParts, cq: PortCompletionQueue) {
    this.poller = poller;
    this.device = parts.device;
    this.drain = parts.drain;
    this.beforeSleep = parts.beforeSleep;
    this.cq = cq;
    this.counters = poller.counters;
  }

  nowMs(): number {
    return this.poller.nowMs();
  }

  polled(): void {}

  schedule(): void {
    this.poller.expect();
  }

  arm(): void {
    if (!this.cq.closed) this.cq.requestNotify();
  }

  close(): void {
    if (this.left) return;
    this.left = true;
    this.cq.close();
    this.poller.leave(this, this.device);
  }
}
