// A producer that sends as fast as its lane lets it.
//
// Invariant: a message is made of the byte of its round, as the producer counts them. Messages are sent in batches. A
// producer that is alone polls busily; several share the cores, so one that has no room sleeps until it has.
import { performance } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { isRdmaError } from '../../core/errors.js';
import { Outbox } from '../../ring/index.js';
import { Device } from '../../verbs/index.js';
import type { RingPlace } from './link.js';
import { makeSender, type Sender } from './sender.js';
import { laneSizes } from './settings.js';

/** How long it goes on before its event loop gets a turn. */
const TURN_MS = 5;
const SENDS_PER_CLOCK = 64;

export class Flood {
  private readonly device: Device;
  private readonly outbox: Outbox;
  private readonly sender: Sender;
  private readonly alone: boolean;
  private running = false;
  private ended: Promise<void> | undefined;

  private constructor(device: Device, outbox: Outbox, place: RingPlace, alone: boolean) {
    this.device = device;
    this.outbox = outbox;
    this.alone = alone;
    this.sender = makeSender(outbox, place.sizeBytes, place.way);
  }

  static async open(place: RingPlace, port: number, name: string, alone: boolean): Promise<Flood> {
    const { secret, sizeBytes } = place;
    const device = Device.open(place.device);
    const to = { host: '127.0.0.1', port };
    const wait = alone ? 'busy' : 'adaptive';
    const sizes = laneSizes(sizeBytes, FLOOD_SLOTS);
    const outbox = await Outbox.connect({ to, secret, device, wait, name, reconnectMs: 0, closeMs: 0, ...sizes });
    return new Flood(device, outbox, place, alone);
  }

  start(): void {
    this.running = true;
    this.ended = this.run();
  }

  /** When it has stopped and closed its outbox. */
  async stop(): Promise<void> {
    this.running = false;
    await this.ended;
    await this.outbox.close();
    this.device.close();
  }

  private async run(): Promise<void> {
    const { outbox, sender } = this;
    let round = 0;
    while (this.running) {
      const end = performance.now() + TURN_MS;
      let room = true;
      do {
        outbox.cork();
        for (let i = 0; i < SENDS_PER_CLOCK && room; i++) {
          room = sender.try(round);
          if (room) round++;
        }
        outbox.uncork();
        outbox.poll();
        if (!room && !this.alone) break;
        room = true;
      } while (performance.now() < end);
      if (room) await turn();
      else await this.whenRoom();
    }
  }

  // Woken by the report of the inbox that gives room.
  private async whenRoom(): Promise<void> {
    const { outbox } = this;
    try {
      await outbox.whenAcknowledged(Math.min(outbox.sequence, outbox.acknowledged + 1), { timeoutMs: 100 });
    } catch (error) {
      if (!isRdmaError(error) || error.code !== 'RDMA_ERR_TIMEOUT') throw error;
    }
  }
}

/** Messages of a producer that may lie in its lane. */
export const FLOOD_SLOTS = 1024;
