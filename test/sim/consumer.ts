// The consumer of the simulated rings: incarnations of an inbox, and the books of what was delivered.
//
// Invariant: the books know only what the application has seen and said, so that what the rings claim can be held
// against them.
import {
  Inbox,
  type InboxMessage,
  type LaneEvent,
  type MemoryReference,
  type RdmaError,
} from '../../src/ts/ring/index.js';
import { SimRegion } from '../../src/ts/sim/memory.js';
import { simPort } from '../../src/ts/sim/port.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import { AccessFlags } from '../../src/ts/verbs/index.js';
import { decodeReference, type Producer, SECRET } from './producer.js';
import { pollerOf, type Shape } from './shape.js';

/** From one poll to the next, of a consumer that polls. */
const POLL_MS = { low: 0.01, high: 2, always: 0.7 };

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** What one incarnation of the inbox has seen of one incarnation of a producer. */
class Account {
  delivered: number;
  acknowledged: number;
  private readonly producer: Producer;
  private readonly marked = new Set<number>();

  constructor(producer: Producer, first: number) {
    this.producer = producer;
    this.delivered = first - 1;
    this.acknowledged = first - 1;
  }

  acknowledge(sequence: number): void {
    this.marked.add(sequence);
    while (this.marked.delete(this.acknowledged + 1) || this.producer.isGivenUp(this.acknowledged + 1)) {
      this.acknowledged++;
    }
  }
}

interface Held {
  message: InboxMessage;
  bytes: Uint8Array;
  /** What it refers to, once it is here. */
  referred?: Uint8Array | undefined;
  acknowledged?: boolean;
  producer: Producer;
  account: Account;
}

/** What all incarnations share. */
export interface ConsumerBooks {
  readonly world: SimWorld;
  readonly shape: Shape;
  readonly producers: ReadonlyMap<string, Producer>;
  /** For each producer, up to where the application has acknowledged, over all incarnations. */
  readonly acknowledged: Map<string, number>;
  deliveries: number;
  pulls: number;
  maps: number;
  reads: number;
}

/** One inbox, in a process of its own. */
export class Incarnation {
  readonly process: SimProcess;
  inbox: Inbox | undefined;
  closed = false;
  private draining = false;
  private opening: Promise<unknown> | undefined;
  private readonly books: ConsumerBooks;
  private readonly accounts = new Map<string, Account>();
  private readonly held = new Set<Held>();
  private readonly lanes = new Map<string, SimRegion>();

  constructor(books: ConsumerBooks, name: string) {
    this.books = books;
    this.process = books.world.process(name);
  }

  open(): Promise<{ host: string; port: number }> {
    const opening = this.listen();
    this.opening = opening;
    return opening;
  }

  private async listen(): Promise<{ host: string; port: number }> {
    const { world, shape } = this.books;
    const inbox = await Inbox.listenOn(simPort(world, this.process), {
      secret: SECRET,
      maxLanes: shape.producers + 1,
      maxSlots: shape.slots,
      maxDataBytes: shape.dataBytes,
      maxPullBytes: shape.pullAboveBytes === undefined ? 0 : 4 * shape.dataBytes,
      inPlace: shape.inPlace,
      wait: shape.wait,
      ...pollerOf(shape, this.process),
      ...(shape.wait === 'busy' ? {} : { onMessage: (message: InboxMessage) => this.take(message) }),
      onLane: (event) => this.watch(event),
    });
    this.inbox = inbox;
    if (shape.wait === 'busy') this.poll();
    return inbox.bootstrap;
  }

  // The loop form: what is delivered and how is the same.
  private poll(): void {
    if (this.closed) return;
    try {
      this.inbox!.poll((lane) => this.take(lane.message()));
    } catch (error) {
      if ((error as RdmaError).code !== 'RDMA_ERR_CLOSED')
        this.broken(`a poll has failed: ${(error as Error).message}`);
      return;
    }
    const { choices } = this.books.world;
    const { low, high, always } = POLL_MS;
    // Where every order is tried, what may come at any time comes at a time of its own.
    this.process.later(choices.exhaustive ? always : choices.delay(low, high), () => this.poll());
  }

  private broken(words: string): void {
    this.books.world.broken.push(`${this.process.name}: ${words}`);
  }

  // When a lane has ended, no byte of its memory changes any more, unless the inbox says that it could not prove it.
  private watch({ type, from }: LaneEvent): void {
    const lane = this.lanes.get(from);
    if (type === 'open') {
      const device = this.books.world.devices.find(({ process }) => process === this.process);
      const regions = [...(device?.objects ?? [])].filter((object) => object instanceof SimRegion);
      const newest = regions.findLast(({ access }) => (access & AccessFlags.REMOTE_WRITE) !== 0);
      if (newest !== undefined) this.lanes.set(from, newest);
    } else if (lane !== undefined) {
      lane.sealed = type === 'fenced';
    }
  }

  private take(message: InboxMessage): void {
    const { books } = this;
    const { from, sequence } = message;
    const producer = books.producers.get(from);
    if (producer === undefined) {
      this.broken(`a message from ${from}, whom nobody knows`);
      return;
    }
    books.deliveries++;
    const account = this.accountOf(producer, sequence);
    let due = account.delivered + 1;
    while (producer.isGivenUp(due) && due < sequence) due++;
    if (sequence !== due) this.broken(`message ${sequence} of ${from} came after ${account.delivered}`);
    account.delivered = sequence;
    if (sequence > producer.begun || producer.isGivenUp(sequence)) {
      this.broken(`message ${sequence} of ${from} was never sent`);
    }
    if (message.laneHeldMessages > message.laneSlots || message.laneHeldBytes > message.laneBytes) {
      this.broken(`more is held of ${from} than its lane has`);
    }
    const held: Held = { message, bytes: producer.bytesOf(sequence), producer, account };
    if (message.isPulled) void this.pull(held);
    else this.arrived(held);
  }

  private accountOf(producer: Producer, sequence: number): Account {
    const { name } = producer;
    const known = this.accounts.get(name);
    if (known !== undefined) return known;
    // A new inbox begins where those before it have been acknowledged.
    let first = sequence;
    while (first > 1 && producer.isGivenUp(first - 1)) first--;
    if (first - 1 > (this.books.acknowledged.get(name) ?? 0)) {
      this.broken(`begins with message ${sequence} of ${name}, and others were not acknowledged`);
    }
    const account = new Account(producer, sequence);
    this.accounts.set(name, account);
    return account;
  }

  private async pull(held: Held): Promise<void> {
    const { message, producer } = held;
    try {
      await message.pull();
    } catch (error) {
      // A dead producer has taken it along. A live one still has it, and it must come, here or to the inbox that comes
      // after this one.
      if (producer.process.state !== 'dead' && !this.closed && !this.draining) {
        this.broken(`message ${message.sequence} of ${producer.name} was not pulled: ${(error as Error).message}`);
      }
      message.release();
      return;
    }
    this.books.pulls++;
    this.arrived(held);
  }

  private arrived(held: Held): void {
    if (held.producer.refers(held.message.sequence)) void this.follow(held);
    else this.keep(held);
  }

  // Looks at what the message refers to: mapped, or read where that is not possible.
  private async follow(held: Held): Promise<void> {
    const { message, producer } = held;
    const reference = decodeReference(message.bytes);
    try {
      held.referred = this.map(message, reference);
      if (held.referred === undefined) {
        const into = new Uint8Array(reference.length);
        await message.read(reference, into);
        held.referred = into;
        this.books.reads++;
      } else {
        this.books.maps++;
      }
    } catch (error) {
      if (producer.process.state !== 'dead' && !this.closed && !this.draining) {
        const { message: why } = error as Error;
        this.broken(`message ${message.sequence} of ${producer.name} refers to what cannot be had: ${why}`);
      }
      message.release();
      return;
    }
    this.keep(held);
  }

  // Undefined also while the producer is away: read() waits for it.
  private map(message: InboxMessage, reference: MemoryReference): Uint8Array | undefined {
    try {
      return message.map(reference);
    } catch (error) {
      if ((error as RdmaError).code !== 'RDMA_ERR_PEER_GONE') throw error;
      return undefined;
    }
  }

  private keep(held: Held): void {
    const { holdMs } = this.books.shape;
    const { choices } = this.books.world;
    this.held.add(held);
    if (!same(held.bytes, held.referred ?? held.message.bytes)) {
      this.broken(`message ${held.message.sequence} of ${held.producer.name} has other bytes than were sent`);
    }
    if (holdMs === 0) {
      this.acknowledge(held);
      this.release(held);
      return;
    }
    // In any order, and apart from each other.
    this.process.later(choices.delay(0, holdMs), () => this.release(held));
    this.process.later(choices.delay(0, holdMs), () => this.acknowledge(held));
  }

  private release(held: Held): void {
    this.check(held);
    this.held.delete(held);
    held.message.release();
  }

  private acknowledge(held: Held): void {
    if (this.held.has(held)) this.check(held);
    held.acknowledged = true;
    const { message, producer, account } = held;
    const { acknowledged } = this.books;
    account.acknowledge(message.sequence);
    acknowledged.set(producer.name, Math.max(acknowledged.get(producer.name) ?? 0, account.acknowledged));
    message.acknowledge();
  }

  private check({ message, bytes, referred, acknowledged, producer }: Held): void {
    if (this.closed || this.process.state === 'dead') return;
    // Of what it refers to nothing is promised after that.
    if (referred !== undefined && acknowledged) return;
    if (!same(bytes, referred ?? message.bytes)) {
      this.broken(`message ${message.sequence} of ${producer.name} changed while it was held`);
    }
  }

  /** What is held must not change. */
  checkHeld(): void {
    for (const held of this.held) this.check(held);
  }

  async drain(): Promise<void> {
    this.draining = true;
    await this.inbox?.drain();
    this.ended();
  }

  async close(): Promise<void> {
    this.ended();
    this.closed = false;
    await this.opening;
    await this.inbox?.close();
    this.closed = true;
  }

  private ended(): void {
    this.held.clear();
    this.closed = true;
  }
}

/** The inbox that producers find, and those that are on their way out. */
export class Consumer {
  readonly books: ConsumerBooks;
  current: Incarnation;
  readonly incarnations: Incarnation[] = [];
  private address = { host: '127.0.0.1', port: 1 };

  constructor(world: SimWorld, shape: Shape, producers: ReadonlyMap<string, Producer>) {
    this.books = { world, shape, producers, acknowledged: new Map(), deliveries: 0, pulls: 0, maps: 0, reads: 0 };
    this.current = this.add();
  }

  readonly to = () => this.address;

  private add(): Incarnation {
    const incarnation = new Incarnation(this.books, `inbox.${this.incarnations.length + 1}`);
    this.incarnations.push(incarnation);
    return incarnation;
  }

  /** Opens the first inbox. */
  async open(): Promise<void> {
    this.address = await this.current.open();
  }

  /** Another inbox takes the place of the present one: a new incarnation, which has seen nothing. */
  async replace(): Promise<void> {
    this.current = this.add();
    this.address = await this.current.open();
  }

  /** Up to where a producer may believe that everything is acknowledged. */
  acknowledgedOf(producer: Producer): number {
    let sequence = this.books.acknowledged.get(producer.name) ?? 0;
    while (sequence < producer.begun && producer.isGivenUp(sequence + 1)) sequence++;
    return sequence;
  }

  checkHeld(): void {
    for (const incarnation of this.incarnations) incarnation.checkHeld();
  }
}
