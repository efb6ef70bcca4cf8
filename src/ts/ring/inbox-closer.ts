// The last work of an inbox: it drains, and it closes.
//
// Invariant: draining ends when every producer has left, or at its limit; closing ends in bounded time, whatever a
// producer does. Whoever waits for a message, a READ or a fence hears of it.
import type { Admission } from './admission.js';
import type { RdmaError } from '../core/errors.js';
import type { CondemnedLanes } from './condemned-lanes.js';
import type { Delivery } from './delivery.js';
import type { Fencing } from './fencing.js';
import type { InboxDevice } from './inbox-device.js';
import type { InboxEnd } from './inbox-end.js';
import type { Lane } from './lane.js';
import type { LaneCompletions } from './lane-completions.js';
import type { Listener } from './listener.js';
import type { MessageQueue } from './message-queue.js';
import type { Clock } from './port.js';
import type { Pulls } from './pulls.js';

/** How long close() waits for producers to learn what was acknowledged. */
const REPORT_MS = 500;

/** What ends. */
export interface CloserParts {
  clock: Clock;
  end: InboxEnd;
  device: InboxDevice;
  listener: Listener;
  lanesByQp: ReadonlyMap<number, Lane>;
  condemned: CondemnedLanes;
  completions: LaneCompletions;
  delivery: Delivery;
  fencing: Fencing;
  admission: Admission;
  pulls: Pulls;
  queue: MessageQueue;
  /** Called when drain() begins to wait. */
  onWait: () => void;
}

export class InboxCloser {
  private readonly parts: CloserParts;
  private draining: Promise<void> | undefined;
  private drained: (() => void) | undefined;
  private closing: Promise<void> | undefined;

  constructor(parts: CloserParts) {
    this.parts = parts;
  }

  /** See {@link Inbox.drain}. */
  drain(timeoutMs: number): Promise<void> {
    this.draining ??= this.drainAll(timeoutMs);
    return this.draining;
  }

  /** See {@link Inbox.close}. */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  /** The last lane is gone. */
  readonly emptied = (): void => this.drained?.();

  private async drainAll(timeoutMs: number): Promise<void> {
    const { clock, end, lanesByQp, onWait } = this.parts;
    end.isDraining = true;
    await null; // no producer is asked before the caller has its promise
    if (!end.isClosing && lanesByQp.size > 0) {
      await new Promise<void>((resolve) => {
        const cancelTimer = clock.after(timeoutMs, resolve);
        this.drained = () => {
          cancelTimer();
          resolve();
        };
        onWait();
        this.askToLeave();
      });
    }
    await this.close();
  }

  private askToLeave(): void {
    const { lanesByQp, condemned } = this.parts;
    for (const lane of lanesByQp.values()) {
      try {
        lane.drain();
      } catch (error) {
        condemned.condemn(lane, error as RdmaError);
      }
    }
  }

  // What was released and acknowledged reaches the producers that still listen, in bounded time.
  private async reportAll(): Promise<void> {
    await null; // out of a handler that may have called close()
    const { clock, device, completions, lanesByQp } = this.parts;
    const endMs = clock.now() + REPORT_MS;
    while (!device.pump.cq.closed && clock.now() < endMs) {
      try {
        completions.poll(1);
      } catch {
        return; // the device is going away
      }
      let reporting = false;
      for (const lane of lanesByQp.values()) {
        try {
          lane.flush(true);
        } catch {
          // Its producer is gone; there is nobody to tell.
        }
        reporting ||= lane.reporting;
      }
      if (!reporting) return;
      await new Promise<void>((resolve) => clock.soon(resolve));
    }
  }

  private async closeAll(): Promise<void> {
    const { end, device, listener, delivery, fencing, admission, pulls, queue } = this.parts;
    end.isClosing = true;
    delivery.stop();
    queue.end();
    await this.reportAll();
    fencing.fenceAll();
    admission.closeEnded();
    for (const progress of admission.allProgress()) pulls.reject(progress, end.error());
    queue.clear();
    this.drained?.();
    try {
      device.close();
    } finally {
      await listener.close();
    }
  }
}
