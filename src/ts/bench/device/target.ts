// The other side of `bench device`: carries out what the initiator asks for, and answers.
//
// Invariant: it sleeps in its event loop unless it takes part in a measurement; what is written into its memory it only
// looks at when it is asked for.
import { RdmaError } from '../../core/errors.js';
import { checkInteger, checkOneOf } from '../../core/validate.js';
import type { MemoryRegion } from '../../verbs/index.js';
import { EventFd } from '../../verbs/event-fd.js';
import type { Link, Message } from '../kit/link.js';
import { digestOf } from './copies.js';
import { MarkExchange } from './mark-exchange.js';
import { Side } from './side.js';
import type { Ending } from './spin.js';
import { WakeExchange } from './wake-exchange.js';

/** The numbers under which a target finds the descriptors that its parent gives it: it is woken by the first. */
export const EVENT_FDS = [4, 5] as const;

export class Target {
  private readonly side: Side;
  private readonly link: Link;
  private readonly ending: Ending;
  private readonly eventFds: readonly [EventFd, EventFd];
  private marks: MarkExchange | undefined;
  private wakes: WakeExchange | undefined;
  private region: MemoryRegion | undefined;

  constructor(device: string, link: Link) {
    this.link = link;
    this.ending = { halt: link, signal: undefined };
    this.eventFds = [EventFd.open(EVENT_FDS[0]), EventFd.open(EVENT_FDS[1])];
    this.side = new Side(device);
  }

  /** Serves until the other side asks it to end, or is gone. */
  async serve(): Promise<void> {
    const { link, side } = this;
    await link.send({ do: 'opened', offer: side.offer() });
    for (;;) {
      const message = await link.next('anything', undefined, 0);
      if (message.do === 'end') return;
      try {
        await this.obey(message);
      } catch (error) {
        const known = error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_PROTOCOL', String(error));
        await link.send({ do: 'error', error: known.toJSON() });
      }
    }
  }

  close(): void {
    this.side.close();
    for (const eventFd of this.eventFds) eventFd.close();
  }

  private async obey(message: Message): Promise<void> {
    const { link, side } = this;
    switch (message.do) {
      case 'connect':
        side.connect(message.offer);
        this.marks = new MarkExchange(side);
        this.wakes = new WakeExchange(side, ...this.eventFds);
        await link.send({ do: 'connected' });
        return;
      case 'follow': {
        const rounds = checkInteger('rounds', message.rounds, 1, 1e7);
        await link.send({ do: 'following' });
        this.marks?.follow(rounds);
        return;
      }
      case 'wake': {
        const rounds = checkInteger('rounds', message.rounds, 1, 1e7);
        const waker = checkOneOf('waker', message.waker, ['device', 'eventfd'] as const);
        await this.wakes?.run(waker, rounds, undefined, this.ending, () => void link.send({ do: 'asleep' }));
        return;
      }
      case 'register':
        this.region = side.register(checkInteger('bytes', message.bytes, 1, 2 ** 31));
        await link.send({ do: 'registered', address: this.region.address, rkey: this.region.rkey });
        return;
      case 'digest':
        await link.send({ do: 'digest', digest: digestOf(new Uint8Array(this.region!.buffer)) });
        return;
      case 'release':
        this.region?.close();
        this.region = undefined;
        await link.send({ do: 'released' });
        return;
      default:
        throw new RdmaError('RDMA_ERR_PROTOCOL', `the other side asks for ${JSON.stringify(message.do)}`);
    }
  }
}
