// The producer behind an outbox: it puts together what takes messages, writes them and keeps them, and ends it.
//
// Invariant: whoever waits for room, for an acknowledgement or for the end hears of it, or of the failure. The
// device is closed once, when nothing uses it any more.
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import { checkAbortSignal, checkInteger, checkObject } from '../core/validate.js';
import { notify } from './callback.js';
import { abandoned, finishSending, restOf } from './finish.js';
import { OutboxDevice } from './outbox-device.js';
import { OutboxEnd } from './outbox-end.js';
import { type LinkHost, OutboxLink } from './outbox-link.js';
import {
  checkOutboxOptions,
  type KeptOptions,
  type OutboxOptions,
  type OutboxRest,
  type OutboxSettings,
  type SendOptions,
} from './outbox-options.js';
import type { Clock, RingPort } from './port.js';
import { SelfDrive } from './self-drive.js';
import { SendPath } from './send-path.js';
import { OutboxCounters, type OutboxStatus } from './status.js';
import { WaitList } from './wait-list.js';

export class Producer {
  readonly identity: string;
  readonly counters = new OutboxCounters();
  readonly device: OutboxDevice;
  readonly link: OutboxLink;
  readonly sendPath: SendPath;
  readonly settings: OutboxSettings;
  private readonly options: KeptOptions;
  private readonly clock: Clock;
  private readonly end = new OutboxEnd();
  private readonly ending = new AbortController();
  private readonly progress: WaitList; // those who wait for a message to be written or acknowledged
  private readonly drive: SelfDrive | undefined; // with `busy`, for those who await something
  private closing: Promise<OutboxRest> | undefined;

  /** @throws RdmaError as {@link Outbox.connect} */
  constructor(given: OutboxOptions, port: RingPort) {
    const settings = checkOutboxOptions(given);
    const options = hideSecret(given);
    const { clock } = port;
    const { counters, end } = this;
    const identity = port.identity();
    const progress = new WaitList(clock);
    const device = new OutboxDevice(port, given.device, settings, (looks) => this.link.poll(looks));
    const { pump, retained, pullMemory, address, pd, mappings, sendDepth } = device;
    const opened = { pump, retained, pullMemory, address, pd, mappings, sendDepth };
    const host: LinkHost = {
      counters,
      connected: (connection) => this.sendPath.stager.connected(connection),
      roomMade: () => {
        this.sendPath.roomMade();
        if (this.isAwaited) this.drive?.start();
      },
      fail: (error) => this.fail(error),
    };
    const { signal } = this.ending;
    const link = new OutboxLink({ ...opened, host, identity, options, settings, port, progress, signal, end });
    this.sendPath = new SendPath({ counters, end, options, settings, clock, pump, retained, pullMemory, link });
    if (settings.wait === 'busy') {
      const isAwaited = () => link.connection !== undefined && this.isAwaited;
      this.drive = new SelfDrive(clock, { isAwaited, poll: () => link.poll(1) });
    }
    this.identity = identity;
    this.device = device;
    this.link = link;
    this.settings = settings;
    this.options = options;
    this.clock = clock;
    this.progress = progress;
  }

  /** See {@link Outbox.status}. */
  status(): OutboxStatus {
    const { sendPath, counters } = this;
    const { retained, pullMemory, pump } = this.device;
    const { connection, reached } = this.link;
    const oldest = retained.count === 0 ? 0 : this.clock.now() - retained.timeOf(retained.acknowledged + 1);
    return {
      connected: connection !== undefined,
      draining: connection?.draining ?? false,
      inPlace: connection?.isMapped ?? false,
      sequence: retained.last,
      published: reached,
      acknowledged: retained.acknowledged,
      unacknowledgedMessages: retained.count,
      unacknowledgedBytes: retained.heldBytes,
      oldestUnacknowledgedMs: Math.max(0, oldest),
      laneMessages: connection === undefined ? 0 : connection.sent - connection.released,
      laneSlots: connection?.lane.slots ?? 0,
      laneBytes: connection?.lane.dataBytes ?? 0,
      payloadBytes: pullMemory.registeredBytes,
      waiting: sendPath.waiting,
      stalledBy: sendPath.stalledBy ?? connection?.stall,
      wakes: pump.counters.wakes,
      counters: { ...counters },
    };
  }

  // ---- Waiting

  // Whether somebody awaits room, or what becomes of a message.
  private get isAwaited(): boolean {
    return this.sendPath.waiting > 0 || this.progress.length > 0;
  }

  /** Attempts until there is room. @throws as {@link SendPath.whenRoom} */
  whenRoom(attempt: () => number, options: SendOptions): Promise<number> {
    const taken = this.sendPath.whenRoom(attempt, options);
    if (this.sendPath.waiting > 0) this.drive?.start();
    return taken;
  }

  /**
   * Waits until a watermark has reached a sequence.
   *
   * @param what words for what the caller waits for
   * @throws as {@link Outbox.whenAcknowledged}
   */
  async whenPast(sequence: number, watermark: () => number, options: SendOptions, what: string): Promise<void> {
    checkInteger('sequence', sequence, 0, this.device.retained.last);
    checkObject('options', options);
    if (options.timeoutMs !== undefined) checkInteger('timeoutMs', options.timeoutMs, 1, 2 ** 31 - 1);
    const signal = checkAbortSignal('signal', options.signal);
    if (watermark() >= sequence) return;
    this.end.check();
    const done = () => (watermark() >= sequence ? 1 : 0);
    const past = this.progress.wait(done, options.timeoutMs, signal, `${what} message ${sequence}`);
    this.drive?.start();
    await past;
  }

  // ---- End

  private fail(error: RdmaError): void {
    const { end } = this;
    if (end.failure !== undefined) return;
    end.failure = error;
    this.sendPath.fail(error);
    this.progress.reject(error);
    if (!end.isOver) notify(this.options.onConnection, { type: 'failed', reason: error });
  }

  /** See {@link Outbox.close}. */
  close(): Promise<OutboxRest> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<OutboxRest> {
    const { end, sendPath, progress, device, link } = this;
    const { retained } = device;
    const { closeMs } = this.settings;
    end.isClosing = true;
    await null; // out of a callback that may have called close()
    const onWait = () => this.drive?.start();
    if (end.failure === undefined) await finishSending({ sendPath, retained, progress, onWait }, closeMs);
    const rest = restOf(retained, link.reached);
    end.isOver = true;
    this.ending.abort();
    if (end.failure === undefined && rest.unacknowledged > 0) {
      notify(this.options.onConnection, { type: 'abandoned', reason: abandoned(rest, closeMs) });
    }
    this.fail(new RdmaError('RDMA_ERR_CLOSED', 'the outbox is closed'));
    await link.close();
    device.close();
    return rest;
  }
}
