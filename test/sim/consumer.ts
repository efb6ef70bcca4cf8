// The consumer of the simulated rings: incarnations of an inbox, and the books of what was delivered.
//
// Invariant: the books know only what the application has seen and said, so that what the rings claim can be held
// against them.
import { Inbox, type InboxMessage, type LaneEvent } from '../../src/ts/ring/index.js';
import { SimRegion } from '../../src/ts/sim/memory.js';
import { simPort } from '../../src/ts/sim/port.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import { type Producer, SECRET } from './producer.js';
import { AccessFlags } from '../../src/ts/verbs/index.js';
import type { Shape } from './shape.js';

interface Held {
  message: InboxMessage;
  bytes: Uint8Array;
  from: string;
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** What one incarnation of the inbox has seen of one incarnation of a producer. */
class Account {
  delivered = 0;
  acknowledged: number;
  private readonly marked = new Set<number>();

  constructor(first: number) {
    this.delivered = first - 1;
    this.acknowledged = first - 1;
  }

  acknowledge(sequence: number): void {
    this.marked.add(sequence);
    while (this.marked.delete(this.acknowledged + 1)) this.acknowledged++;
  }
}

export class Consumer {
  process: SimProcess;
  inbox: Inbox | undefined;
  deliveries = 0;
  closed = false;
  /** For each producer, up to where the application has acknowledged, over all incarnations. */
  readonly acknowledged = new Map<string, number>();
  private accounts = new Map<string, Account>();
  private held = new Set<Held>();
  private lanes = new Map<string, SimRegion>();
  private quarantined = 0;
  private address = { host: '127.0.0.1', port: 1 };
  private incarnation = 0;
  private readonly world: SimWorld;
  private readonly shape: Shape;
  private readonly producers: Map<string, Producer>;

  constructor(world: SimWorld, shape: Shape, producers: Map<string, Producer>) {
    this.world = world;
    this.shape = shape;
    this.producers = producers;
    this.process = world.process('inbox.1');
  }

  readonly to = () => this.address;

  /** Opens an inbox, after a crash in a new process: a new incarnation, which has seen nothing. */
  async open(): Promise<void> {
    if (++this.incarnation > 1) this.process = this.world.process(`inbox.${this.incarnation}`);
    this.accounts = new Map();
    this.held = new Set();
    this.lanes = new Map();
    this.quarantined = 0;
    this.inbox = undefined;
    this.closed = false;
    const { process } = this;
    const inbox = await Inbox.listenOn(simPort(this.world, process), {
      secret: SECRET,
      maxLanes: this.shape.producers + 1,
      maxSlots: this.shape.slots,
      maxDataBytes: this.shape.dataBytes,
      wait: this.shape.wait,
      onMessage: (message) => this.take(process, message),
      onLane: (event) => this.watch(process, event),
    });
    this.inbox = inbox;
    this.address = inbox.bootstrap;
  }

  // When a lane has ended, no byte of its memory changes any more, unless the inbox says that it could not prove it.
  private watch(process: SimProcess, event: LaneEvent): void {
    const device = this.world.devices.find((each) => each.process === process);
    if (event.type === 'open' && device !== undefined) {
      const regions = [...device.objects].filter((object) => object instanceof SimRegion);
      const lane = regions.findLast(({ access }) => (access & AccessFlags.REMOTE_WRITE) !== 0);
      if (lane !== undefined) this.lanes.set(event.from, lane);
    } else if (event.type === 'fenced') {
      const lane = this.lanes.get(event.from);
      this.lanes.delete(event.from);
      const quarantined = this.inbox?.counters.quarantined ?? 0;
      if (lane !== undefined && quarantined === this.quarantined) lane.sealed = true;
      this.quarantined = quarantined;
    }
  }

  private take(process: SimProcess, message: InboxMessage): void {
    const { broken } = this.world;
    const { from, sequence } = message;
    const producer = this.producers.get(from);
    if (producer === undefined || process !== this.process) {
      broken.push(`a message from ${from} to ${process.name}, which cannot be`);
      return;
    }
    this.deliveries++;
    let account = this.accounts.get(from);
    if (account === undefined) {
      // A new inbox begins where the one before it has been acknowledged.
      if (sequence - 1 > (this.acknowledged.get(from) ?? 0)) {
        broken.push(`${process.name} begins with message ${sequence} of ${from}, and others were not acknowledged`);
      }
      account = new Account(sequence);
      this.accounts.set(from, account);
    }
    if (sequence !== account.delivered + 1) {
      broken.push(`${process.name}: message ${sequence} of ${from} came after ${account.delivered}`);
    }
    account.delivered = sequence;
    if (sequence > producer.begun) broken.push(`message ${sequence} of ${from} was never sent`);
    const bytes = producer.bytesOf(sequence);
    if (!same(bytes, message.bytes)) broken.push(`message ${sequence} of ${from} has other bytes than were sent`);
    if (message.laneHeldMessages > message.laneSlots || message.laneHeldBytes > message.laneBytes) {
      broken.push(`more is held of ${from} than its lane has`);
    }
    const held = { message, bytes, from };
    this.held.add(held);
    const { holdMs } = this.shape;
    const { choices } = this.world;
    if (holdMs === 0) {
      this.release(held);
      this.acknowledge(held, account);
      return;
    }
    // In any order, and apart from each other.
    process.later(choices.delay(0, holdMs), () => this.release(held));
    const mine = account;
    process.later(choices.delay(0, holdMs), () => this.acknowledge(held, mine));
  }

  private release(held: Held): void {
    this.check(held);
    this.held.delete(held);
    held.message.release();
  }

  private acknowledge({ message, from }: Held, account: Account): void {
    account.acknowledge(message.sequence);
    this.acknowledged.set(from, Math.max(this.acknowledged.get(from) ?? 0, account.acknowledged));
    message.acknowledge();
  }

  private check({ message, bytes, from }: Held): void {
    if (message.bytes.length === 0 && this.inbox === undefined) return;
    if (!same(bytes, message.bytes)) {
      this.world.broken.push(`message ${message.sequence} of ${from} changed while it was held`);
    }
  }

  /** What is held must not change. */
  checkHeld(): void {
    for (const held of this.held) this.check(held);
  }

  crash(): void {
    this.process.crash();
    this.held.clear();
    this.inbox = undefined;
  }

  async close(): Promise<void> {
    this.held.clear();
    await this.inbox?.close();
    this.closed = true;
  }
}
