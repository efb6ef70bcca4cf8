// A producer of the simulated rings: a process with an outbox that sends numbered messages.
//
// Invariant: the bytes of a message follow from its producer and its number, so that the receiver checks each of them
// without having seen what was sent.
import { Outbox } from '../../src/ts/ring/index.js';
import { simPort } from '../../src/ts/sim/port.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import { content } from '../ring/support.js';
import type { Shape } from './shape.js';

export const SECRET = 'the simulation knows it';

export class Producer {
  readonly name: string;
  readonly process: SimProcess;
  outbox: Outbox | undefined;
  /** Messages that the outbox has taken, or may have taken. */
  begun = 0;
  /** It has sent everything and had it acknowledged. */
  done = false;
  closed = false;
  private readonly seed: number;
  private readonly shape: Shape;
  private readonly world: SimWorld;

  constructor(world: SimWorld, shape: Shape, index: number, incarnation: number) {
    this.world = world;
    this.shape = shape;
    this.name = `p${index}.${incarnation}`;
    this.seed = index * 1000 + incarnation * 100_000;
    this.process = world.process(this.name);
  }

  lengthOf(sequence: number): number {
    const { lengths } = this.shape;
    return lengths[(sequence + this.seed) % lengths.length]!;
  }

  /** The bytes of message `sequence`. */
  bytesOf(sequence: number): Uint8Array {
    return content(this.seed + sequence, this.lengthOf(sequence));
  }

  async run(to: () => { host: string; port: number }): Promise<void> {
    const { slots, dataBytes, retainMessages, retainBytes, wait, messages } = this.shape;
    const outbox = await Outbox.connectOn(simPort(this.world, this.process), {
      to,
      secret: SECRET,
      name: this.name,
      slots,
      dataBytes,
      retainMessages,
      retainBytes,
      wait,
      reconnectMs: 2 ** 31 - 1,
    });
    this.outbox = outbox;
    for (let n = 1; n <= messages; n++) {
      this.begun = n;
      const sequence = await outbox.send(this.bytesOf(n));
      if (sequence !== n) this.world.broken.push(`${this.name}: message ${n} was taken as ${sequence}`);
    }
    await outbox.whenAcknowledged();
    this.done = true;
  }

  async close(): Promise<void> {
    await this.outbox?.close();
    this.closed = true;
  }
}
