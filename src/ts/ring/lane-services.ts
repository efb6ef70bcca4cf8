// What an inbox does for its lanes and for their messages.
//
// Invariant: a lane, or a message that the application holds, reaches nothing else of its inbox. After close() nothing
// is pulled.
import type { PortAddress } from '../verbs/index.js';
import type { InboxDevice } from './inbox-device.js';
import type { InboxEnd } from './inbox-end.js';
import type { Lane, LaneHost } from './lane.js';
import type { MakeLaneParts } from './lane-memory.js';
import type { LaneNews } from './lane-news.js';
import type { Clock } from './port.js';
import type { Pulls, PullSource } from './pulls.js';
import type { CompletionDriver } from './pump.js';
import type { RemoteMemory } from './remote-memory.js';

/** The parts of an inbox that lanes and messages need. */
export interface ServiceParts {
  /** The largest message that is pulled; 0: none. */
  maxPullBytes: number;
  clock: Clock;
  device: InboxDevice;
  news: LaneNews;
  pulls: Pulls;
  end: InboxEnd;
}

export class LaneServices implements LaneHost {
  readonly maxPullBytes: number;
  readonly address: PortAddress;
  readonly remote: RemoteMemory;
  readonly makeLaneParts: MakeLaneParts;
  private readonly clock: Clock;
  private readonly pump: CompletionDriver;
  private readonly news: LaneNews;
  private readonly pulls: Pulls;
  private readonly end: InboxEnd;

  constructor({ maxPullBytes, clock, device, news, pulls, end }: ServiceParts) {
    this.maxPullBytes = maxPullBytes;
    this.address = device.address;
    this.remote = device.remote;
    this.makeLaneParts = device.makeLaneParts;
    this.clock = clock;
    this.pump = device.pump;
    this.news = news;
    this.pulls = pulls;
    this.end = end;
  }

  markDirty(lane: Lane): void {
    this.news.add(lane);
  }

  nowMs(): number {
    return this.pump.nowMs();
  }

  clockMs(): number {
    return this.clock.now();
  }

  pull(source: PullSource, into: Uint8Array, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.end.isClosing) return Promise.reject(this.end.error());
    return this.pulls.pull(source, into, timeoutMs, signal);
  }
}
