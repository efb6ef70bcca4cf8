// Where producers connect to an inbox: its bootstrap port, and those who come there.
//
// Invariant: whoever proves that it knows the secret goes to the acceptor; everybody else is counted. After close()
// nobody connects.
import { RdmaError } from '../core/errors.js';
import { checkString } from '../core/validate.js';
import type { InboxOptions, LaneEvent } from './inbox-options.js';
import type { PortChannel, PortServer, RingPort } from './port.js';
import { type BootstrapStatus, bootstrapStatus, type InboxCounters } from './status.js';
import { Strangers } from './strangers.js';

const SERVICE = 'onepiece-inbox';

export class Listener {
  private readonly port: RingPort;
  private readonly strangers: Strangers;
  private server: PortServer | undefined;

  constructor(port: RingPort, counters: InboxCounters, onLane: ((event: LaneEvent) => void) | undefined) {
    this.port = port;
    this.strangers = new Strangers(port.clock, counters, onLane);
  }

  /**
   * Listens from now on.
   *
   * @param maxPeers the most channels at a time
   * @param onPeer gets the channel of each producer that knows the secret
   * @throws RdmaError as {@link Inbox.listen}
   */
  async listen(options: InboxOptions, maxPeers: number, onPeer: (channel: PortChannel) => void): Promise<void> {
    this.server = await this.port.listen({
      host: checkString('host', options.host ?? '127.0.0.1', { minLength: 1, maxLength: 255 }),
      port: options.port ?? 0,
      secret: options.secret,
      service: SERVICE,
      maxPeers,
      onPeer,
      onRejected: this.strangers.rejected,
    });
  }

  /** Where it listens. @throws RdmaError RDMA_ERR_CLOSED */
  get address(): { host: string; port: number } {
    if (this.server === undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed');
    return this.server.address;
  }

  /** Undefined when it does not listen. */
  status(): BootstrapStatus | undefined {
    return bootstrapStatus(this.server);
  }

  async close(): Promise<void> {
    await this.server?.close();
    this.server = undefined;
    this.strangers.close();
  }
}
