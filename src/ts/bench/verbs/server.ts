// The side that serves: does what the client says, message by message.
//
//   client            server
//   open settings  →
//                  ←  opened offer
//   connect offer  →
//                  ←  connected
//   size bytes     →                 for each size: zeroed memory, new loops
//                  ←  ready
//   run count      →                 as often as needed: warm-up, then the measurement
//                  ←  running        the client begins when it has this
//                  ←  ran            how long it took, when this side measured as well
//   bye            →
//
// Invariant: everything that was opened is closed when serve() ends, however it ends; the client
// learns what went wrong here.
import { isRdmaError, RdmaError } from '../../core/errors.js';
import { checkInteger } from '../../core/validate.js';
import type { Link, Message } from '../kit/link.js';
import { drive } from '../kit/loop.js';
import { Receives } from './receives.js';
import { checkSettings, type VerbsSettings, verbOf } from './settings.js';
import { type Place, Side } from './side.js';
import { type SizeRun, sizeRun } from './size-run.js';

const NO_TIMES = { posted: new Float64Array(0), completed: new Float64Array(0) };
const NO_SAMPLES = new Float64Array(0);

/**
 * Serves one client until it says bye or is gone.
 *
 * @throws RdmaError what went wrong here, after it was sent to the client
 */
export async function serve(link: Link, place: Place, signal?: AbortSignal): Promise<void> {
  const server = new Server(link, place, signal);
  try {
    await server.serve();
  } catch (error) {
    const rdma = isRdmaError(error) ? error : new RdmaError('RDMA_ERR_PROTOCOL', String(error));
    await link.send({ do: 'error', error: rdma.toJSON() }).catch(() => undefined); // it may be the link that is gone
    throw error;
  } finally {
    server.close();
  }
}

class Server {
  private side: Side | undefined;
  private settings: VerbsSettings | undefined;
  private receives: Receives | undefined;
  private run: SizeRun = {};

  constructor(
    private readonly link: Link,
    private readonly place: Place,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async serve(): Promise<void> {
    for (;;) {
      const message = await this.link.next('anything', this.signal, 0);
      if (message.do === 'bye') return;
      await this.obey(message);
    }
  }

  close(): void {
    this.side?.close();
  }

  private async obey(message: Message): Promise<void> {
    if (message.do === 'open' && this.side === undefined) {
      this.settings = checkSettings(message.settings);
      this.side = new Side(this.place, this.settings);
      return await this.link.send({ do: 'opened', offer: this.side.offer() });
    }
    const { side, settings } = this;
    if (side === undefined || settings === undefined) throw new RdmaError('RDMA_ERR_PROTOCOL', 'open comes first');
    switch (message.do) {
      case 'connect':
        side.connect(message.offer);
        if (verbOf(settings.test) === 'send') this.receives = new Receives(side, settings);
        return await this.link.send({ do: 'connected' });
      case 'size': {
        const bytes = checkInteger('bytes', message.bytes, 1, Math.max(...settings.sizes));
        side.clear();
        this.run = sizeRun(side, settings, this.receives, bytes, false);
        return await this.link.send({ do: 'ready' });
      }
      case 'run':
        return await this.measure(checkInteger('count', message.count, 1, Number.MAX_SAFE_INTEGER));
      default:
        throw new RdmaError('RDMA_ERR_PROTOCOL', `no such message: ${JSON.stringify(message.do)}`);
    }
  }

  private async measure(count: number): Promise<void> {
    const { link, signal, run, settings } = this;
    const loop = run.latency ?? run.bandwidth ?? run.receiver;
    run.latency?.begin(count, NO_SAMPLES);
    run.bandwidth?.begin(count, NO_TIMES);
    run.receiver?.begin(count * settings!.qps);
    await link.send({ do: 'running' });
    if (loop !== undefined) await drive(loop, { halt: link, sleeper: this.side?.sleeper, signal });
    const tookMs = run.bandwidth === undefined ? 0 : run.bandwidth.endedAt - run.bandwidth.beganAt;
    await link.send({ do: 'ran', tookMs });
  }
}
