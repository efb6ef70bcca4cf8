// A producer of the simulated rings: a process with an outbox that sends numbered messages in every way there is.
//
// Invariant: what becomes of message n, and its bytes, follow from the producer and n, so that the receiver checks each
// of them without having seen what was sent.
import { type Block, MemoryPool, type MemoryReference, Outbox } from '../../src/ts/ring/index.js';
import { simPort } from '../../src/ts/sim/port.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import { content } from '../ring/support.js';
import { pollerOf, type Shape, type Way } from './shape.js';

export const SECRET = 'the simulation knows it';

export class Producer {
  readonly name: string;
  readonly process: SimProcess;
  outbox: Outbox | undefined;
  private pool: MemoryPool | undefined;
  private readonly blocks = new Map<number, Block>(); // by the message that refers to it
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

  private lengthOf(sequence: number): number {
    const { lengths } = this.shape;
    return lengths[(sequence + this.seed) % lengths.length]!;
  }

  private wayOf(sequence: number): Way {
    const { ways } = this.shape;
    return ways[(sequence + this.seed) % ways.length]!;
  }

  /** True when the place of message `sequence` is given up: it is never delivered. */
  isGivenUp(sequence: number): boolean {
    return this.wayOf(sequence) === 'abort';
  }

  /** True when message `sequence` refers to its bytes. */
  refers(sequence: number): boolean {
    return this.wayOf(sequence) === 'refer';
  }

  /** The bytes of message `sequence`. */
  bytesOf(sequence: number): Uint8Array {
    return content(this.seed + sequence, this.lengthOf(sequence));
  }

  async run(to: () => { host: string; port: number }): Promise<void> {
    const {
      slots,
      dataBytes,
      inlineBytes,
      retainMessages,
      retainBytes,
      wait,
      messages,
      pullAboveBytes,
      checksum,
      batch,
      direct,
    } = this.shape;
    const port = simPort(this.world, this.process);
    if (this.shape.ways.includes('refer')) {
      this.pool = MemoryPool.openOn(port, { limitBytes: this.shape.poolBytes, idleMs: this.shape.poolIdleMs });
    }
    const outbox = await Outbox.connectOn(port, {
      ...(this.pool === undefined ? {} : { pool: this.pool }),
      onAcknowledged: (sequence) => this.acknowledged(sequence),
      to,
      secret: SECRET,
      name: this.name,
      slots,
      dataBytes,
      inlineBytes,
      retainMessages,
      retainBytes,
      wait: wait === 'busy' ? 'event' : wait,
      ...pollerOf(this.shape, this.process),
      checksum,
      ...(pullAboveBytes === undefined ? {} : { pullAboveBytes }),
      reconnectMs: 2 ** 31 - 1,
    });
    this.outbox = outbox;
    for (let n = 1; n <= messages; n++) {
      this.begun = n;
      if ((n - 1) % batch === 0 && !direct) outbox.cork();
      const sequence = await this.send(outbox, n);
      if (n % batch === 0 || n === messages) outbox.uncork();
      if (sequence !== n) this.world.broken.push(`${this.name}: message ${n} was taken as ${sequence}`);
    }
    await outbox.whenAcknowledged();
    this.done = true;
  }

  private async send(outbox: Outbox, n: number): Promise<number> {
    const way = this.wayOf(n);
    const bytes = this.bytesOf(n);
    if (way === 'refer') return this.sendReference(outbox, n, bytes);
    if (way === 'send' && this.shape.direct) return outbox.send(bytes);
    if (way === 'send') return outbox.send([bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]);
    const most = Math.max(bytes.length, Math.min(this.shape.dataBytes, bytes.length + 10));
    const reservation = await outbox.reserve(most);
    // It is built in two steps, and meanwhile anything may happen.
    const half = bytes.length >> 1;
    reservation.bytes.set(bytes.subarray(0, half));
    await this.pause(this.world.choices.delay(0, this.shape.buildMs));
    reservation.bytes.set(bytes.subarray(half), half);
    if (way === 'reserve') return reservation.commit(bytes.length);
    reservation.abort();
    return reservation.sequence;
  }

  private async sendReference(outbox: Outbox, n: number, bytes: Uint8Array): Promise<number> {
    let block = this.pool!.allocate(bytes.length);
    while (block === undefined) {
      await outbox.whenAcknowledged(outbox.acknowledged + 1);
      block = this.pool!.allocate(bytes.length);
    }
    // It is built in two steps, and meanwhile anything may happen.
    const half = bytes.length >> 1;
    block.bytes.set(bytes.subarray(0, half));
    await this.pause(this.world.choices.delay(0, this.shape.buildMs));
    block.bytes.set(bytes.subarray(half), half);
    // One reference of the message, one of its own while it builds.
    block.retain();
    this.blocks.set(n, block);
    const sequence = await outbox.send(encodeReference(block));
    block.release();
    return sequence;
  }

  private acknowledged(sequence: number): void {
    for (const [n, block] of this.blocks) {
      if (n > sequence) continue;
      this.blocks.delete(n);
      block.release();
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.process.clock.after(ms, resolve));
  }

  async close(): Promise<void> {
    await this.outbox?.close();
    this.pool?.close();
    this.closed = true;
  }
}

/** A reference as six numbers. */
export function encodeReference(reference: MemoryReference): Uint8Array {
  const { address, rkey, length, segment, segmentAddress, segmentBytes } = reference;
  return new Uint8Array(Float64Array.of(address, rkey, length, segment, segmentAddress, segmentBytes).buffer);
}

export function decodeReference(bytes: Uint8Array): MemoryReference {
  const numbers = new Float64Array(bytes.slice().buffer);
  const [address, rkey, length, segment, segmentAddress, segmentBytes] = numbers as unknown as number[];
  return {
    address: address!,
    rkey: rkey!,
    length: length!,
    segment: segment!,
    segmentAddress: segmentAddress!,
    segmentBytes: segmentBytes!,
  };
}
