// The other process of a peer's measurement: answers messages, or sends as fast as it can.
//
// Invariant: obeys the process that forked it, and ends with it; does for the peer what ring/partner-main.ts does for
// the rings.
import { setImmediate as turn } from 'node:timers/promises';
import { serveParent } from '../../../src/ts/bench/kit/partner.js';
import { writeMessage } from '../../../src/ts/bench/kit/payload.js';
import { clockLookMs } from '../../../src/ts/bench/kit/look.js';
import { WRITE_TIMED_BYTES } from '../../../src/ts/bench/ring/sender.js';
import { type Dialer, type MessengerContext, type Pieces, creditsOf, windowOf } from './messenger.js';
import { messengerOf } from './messengers.js';
import { takePieces } from './pieces.js';

export type MessengerRequest =
  | { do: 'dial'; messenger: string; context: MessengerContext; index: number; task: 'echo' | 'flood' }
  /** From now on: read every byte or not; remember how long the next `record` messages took to write. */
  | { do: 'rounds'; touched: boolean; record: number }
  | { do: 'writes' }
  | { do: 'start' };

/** Handed over before the event loop gets a turn. */
const BATCH_MESSAGES = 64;
const BATCH_BYTES = 2 ** 20;

abstract class Side {
  dialer: Dialer | undefined;
  protected readonly sizeBytes: number;

  constructor(context: MessengerContext) {
    this.sizeBytes = context.sizeBytes;
  }

  abstract readonly onMessage: (message: Pieces) => void;
}

class Echo extends Side {
  writes = new Float64Array(0);
  private readonly source = new Uint8Array(this.sizeBytes);
  private touched = false;
  private recorded = 0;
  private round = 0;
  private readonly lookMs = clockLookMs();

  rounds(touched: boolean, record: number): void {
    this.touched = touched;
    this.writes = new Float64Array(record);
    this.recorded = 0;
  }

  readonly onMessage = (message: Pieces): void => {
    const round = this.round++;
    takePieces(message, this.sizeBytes, round, this.touched);
    const timed = this.sizeBytes >= WRITE_TIMED_BYTES;
    const begin = timed ? performance.now() : 0;
    writeMessage(this.source, round);
    const writeMs = timed ? performance.now() - begin + this.lookMs : 0;
    void this.dialer!.send(this.source, false);
    if (this.recorded < this.writes.length) this.writes[this.recorded++] = writeMs;
  };
}

class Flood extends Side {
  private readonly source = new Uint8Array(this.sizeBytes);
  private readonly index: number;
  private readonly window: number;
  private credits: number;
  private woken: (() => void) | undefined;

  constructor(context: MessengerContext, index: number, hasBackPressure: boolean) {
    super(context);
    this.index = index;
    this.window = windowOf(context.sizeBytes);
    this.credits = hasBackPressure ? Number.POSITIVE_INFINITY : this.window;
  }

  /** A credit: so many messages were taken. */
  readonly onMessage = (): void => {
    this.credits += creditsOf(this.window);
    this.woken?.();
  };

  async run(): Promise<never> {
    const { source, index } = this;
    const batch = Math.max(1, Math.min(BATCH_MESSAGES, Math.floor(BATCH_BYTES / this.sizeBytes)));
    for (;;) {
      for (let i = 0; i < batch; i++) {
        while (this.credits <= 0) {
          await new Promise<void>((resolve) => {
            this.woken = resolve;
          });
        }
        this.credits--;
        writeMessage(source, index);
        const wait = this.dialer!.send(source, i + 1 < batch && this.credits > 0);
        if (wait !== undefined) await wait;
      }
      await turn();
    }
  }
}

let side: Echo | Flood | undefined;

serveParent<MessengerRequest>(async (request) => {
  switch (request.do) {
    case 'dial': {
      const { context, index } = request;
      const messenger = messengerOf(request.messenger);
      side = request.task === 'echo' ? new Echo(context) : new Flood(context, index, messenger.hasBackPressure);
      side.dialer = await messenger.dial(context, index, side.onMessage);
      return {};
    }
    case 'rounds':
      (side as Echo).rounds(request.touched, request.record);
      return {};
    case 'writes':
      return { writes: (side as Echo).writes };
    case 'start':
      void (side as Flood).run();
      return {};
  }
});
