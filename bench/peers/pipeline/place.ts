// A place of a peer in Node.js: takes a message from each input, does what our stages do, and sends on what it made.
//
// Invariant: inputs are joined in the order in which they came, each sender's n-th with the others' n-th; one output
// is made and sent at a time, as such sockets take one message after the other.
import type { Dialer, Pieces } from '../messengers/messenger.js';
import { gather, outputBytes, type Place, placeOf, type Shape } from '../../../src/ts/bench/pipeline/shape.js';

/** One piece as it is; several put together, which is a copy. */
export function joinPieces(message: Pieces): Uint8Array {
  return message.length === 1 ? message[0]! : Buffer.concat(message);
}

export class PlaceWork {
  private readonly shape: Shape;
  private readonly place: Place;
  private readonly sizeBytes: number;
  private readonly outputs: readonly Dialer[];
  private readonly waiting: Uint8Array[][];
  private running = false;

  constructor(shape: Shape, name: string, sizeBytes: number, outputs: readonly Dialer[]) {
    this.shape = shape;
    this.place = placeOf(shape, name);
    this.sizeBytes = sizeBytes;
    this.outputs = outputs;
    this.waiting = this.place.takes.map(() => []);
  }

  /** @param input its index among the place's inputs */
  take(input: number, message: Pieces): void {
    this.waiting[input]!.push(joinPieces(message));
    if (!this.running) void this.run();
  }

  private async run(): Promise<void> {
    this.running = true;
    while (this.waiting.every((messages) => messages.length > 0)) {
      const inputs = this.waiting.map((messages) => messages.shift()!);
      // A new one each time: the socket reads it until it has left, without a copy where its library allows that.
      const output = Buffer.allocUnsafe(outputBytes(this.place, this.sizeBytes));
      gather(this.shape, this.place, this.sizeBytes, inputs, output);
      for (let i = 0; i < this.outputs.length; i++) {
        const wait = this.outputs[i]!.send(output, false);
        if (wait !== undefined) await wait;
      }
    }
    this.running = false;
  }
}
