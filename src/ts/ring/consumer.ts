// The consumer behind an inbox: it puts together what looks after its lanes, from the port where producers connect to
// the delivery of their messages.
//
// Invariant: each part has one owner, and every part gets just those that it works with. Nothing outside of the ring
// layer sees any of them.
import { hideSecret } from '../core/secret.js';
import { Acceptor } from './acceptor.js';
import { Admission } from './admission.js';
import { Arrivals } from './arrivals.js';
import { CondemnedLanes } from './condemned-lanes.js';
import { Delivery } from './delivery.js';
import { Fencing } from './fencing.js';
import { InboxCloser } from './inbox-closer.js';
import { InboxDevice } from './inbox-device.js';
import { InboxEnd } from './inbox-end.js';
import { InboxLoop } from './inbox-loop.js';
import { checkLimits, type InboxOptions } from './inbox-options.js';
import type { Lane } from './lane.js';
import { LaneCompletions } from './lane-completions.js';
import { LaneNews } from './lane-news.js';
import { LaneScheduler } from './lane-scheduler.js';
import { LaneServices } from './lane-services.js';
import { Listener } from './listener.js';
import { MessageQueue } from './message-queue.js';
import { PolledLanes } from './polled-lanes.js';
import type { Clock, PortChannel, RingPort } from './port.js';
import { Pulls } from './pulls.js';
import { SelfDrive } from './self-drive.js';
import { countPulled, InboxCounters, type InboxStatus } from './status.js';

export class Consumer {
  readonly identity: string;
  readonly counters = new InboxCounters();
  readonly device: InboxDevice;
  readonly listener: Listener;
  readonly loop: InboxLoop;
  readonly closer: InboxCloser;
  readonly queue: MessageQueue;
  readonly lanesByQp = new Map<number, Lane>();
  private readonly clock: Clock;
  private readonly maxPeers: number;
  private readonly end = new InboxEnd();
  private readonly admission: Admission;
  private readonly acceptor: Acceptor;
  private readonly pulls: Pulls;
  private readonly drive: SelfDrive | undefined; // with `busy`, for those who await something

  /** @throws RdmaError as {@link Inbox.listen} */
  constructor(options: InboxOptions, port: RingPort) {
    const limits = checkLimits(options);
    const kept = hideSecret(options);
    const { clock } = port;
    const { counters, end, lanesByQp } = this;
    const { onLane } = kept;
    const nowMs = clock.now();
    const identity = port.identity();
    this.clock = clock;
    this.maxPeers = limits.lanes * 2;
    this.identity = identity;
    const onWait = () => this.drive?.start();
    // What the loop is made of asks for its polls.
    const schedule = () => this.loop.schedule();
    const drain = (looks: number) => this.loop.drain(looks);
    const condemned = new CondemnedLanes(schedule);
    const news = new LaneNews(condemned, schedule);
    const device = new InboxDevice(port, options.device, limits, { drain, beforeSleep: () => news.flush(true) });
    const { pump, remote, transport } = device;
    const { cq } = pump;
    const scheduler = new LaneScheduler(limits.lanes);
    const queue = new MessageQueue(onWait);
    const pulls = new Pulls(clock, ({ what, length }) => countPulled(counters, what, length), onWait);
    const admission = new Admission(limits, identity, device.name, transport, cq.capacity);
    const channels = new Map<Lane, PortChannel>();
    const polled = new PolledLanes(scheduler, condemned);
    const completions = new LaneCompletions({ cq, lanesByQp, polled, scheduler, news, condemned, pulls });
    const arrivals = new Arrivals(polled, completions, scheduler);
    const delivery = new Delivery(scheduler, polled, news, condemned, counters);
    const ofLanes = { lanesByQp, channels, condemned, polled, pulls, admission, counters, onLane };
    const onEmpty = () => this.closer.emptied();
    const fencing = new Fencing({ ...ofLanes, delivery, completions, scheduler, remote, onEmpty });
    const host = new LaneServices({ maxPullBytes: limits.pullBytes, clock, device, news, pulls, end });
    this.acceptor = new Acceptor({ ...ofLanes, identity, host, fencing, end, cq });
    this.listener = new Listener(port, counters, onLane);
    const looking = { pump, arrivals, scheduler, polled, completions, news };
    this.loop = new InboxLoop({ ...looking, options: kept, end, delivery, fencing, queue, nowMs });
    const { listener } = this;
    const ending = { clock, end, device, listener, lanesByQp, condemned, completions, delivery, fencing };
    this.closer = new InboxCloser({ ...ending, admission, pulls, queue, onWait });
    if (limits.wait === 'busy') {
      const poll = () => this.loop.drive(queue.isAwaited || end.isDraining);
      this.drive = new SelfDrive(clock, { isAwaited: () => this.isAwaited, poll });
    }
    this.device = device;
    this.queue = queue;
    this.pulls = pulls;
    this.admission = admission;
  }

  /** Producers can connect from now on. @throws RdmaError as {@link Inbox.listen} */
  async listen(options: InboxOptions): Promise<void> {
    await this.listener.listen(options, this.maxPeers, (channel) => void this.acceptor.accept(channel));
  }

  // Whether somebody awaits a message, a READ, or the end of drain().
  private get isAwaited(): boolean {
    if (this.end.isClosing) return false;
    return this.queue.isAwaited || this.pulls.isReading || (this.end.isDraining && this.lanesByQp.size > 0);
  }

  /** See {@link Inbox.status}. */
  status(): InboxStatus {
    const now = this.clock.now();
    const { device } = this;
    const lanes = [...this.lanesByQp.values()].map((lane) => lane.status(now));
    const sum = (of: (lane: (typeof lanes)[number]) => number) => lanes.reduce((total, lane) => total + of(lane), 0);
    return {
      draining: this.end.isDraining,
      bootstrap: this.listener.status(),
      lanes,
      endedLanes: this.admission.endedLanes,
      memoryBytes: sum((lane) => lane.memoryBytes),
      heldMessages: sum((lane) => lane.heldMessages),
      heldBytes: sum((lane) => lane.heldBytes),
      waitingMessages: sum((lane) => lane.waitingMessages) + this.queue.length,
      unacknowledgedMessages: sum((lane) => lane.unacknowledgedMessages),
      oldestUnacknowledgedMs: lanes.reduce((most, lane) => Math.max(most, lane.oldestUnacknowledgedMs), 0),
      mappedBytes: device.remote.mappedBytes,
      wakes: device.pump.counters.wakes,
      counters: { ...this.counters },
    };
  }
}
