// A producer by hand: it knows the secret, has a queue pair and a lane, and then writes what it likes.
import { randomBytes } from 'node:crypto';
import { type BootstrapChannel, connectBootstrap } from '../../src/ts/connect/index.js';
import { Answer, RING_PROTOCOL } from '../../src/ts/ring/negotiation-messages.js';
import {
  alignedLength,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  DescriptorFlags,
  emptyDescriptor,
  encodeDescriptor,
  laneImm,
  MessageKind,
  publishShort,
} from '../../src/ts/ring/layout.js';
import type { Inbox } from '../../src/ts/ring/index.js';
import {
  AccessFlags,
  type CompletionQueue,
  Device,
  type MemoryRegion,
  type QueuePair,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import * as v from 'valibot';
import { DEVICE, SECRET, until } from './support.js';

const STAGING_BYTES = 2 ** 20;
const DATA_AT = 65536;

/** What is different from a right message. */
export interface Wrong {
  sequence?: number;
  offset?: number;
  length?: number;
  kind?: number;
  flags?: number;
  space?: number;
  address?: number;
  epoch?: number;
  /** Index of a word of the descriptor, and what to add to it when the checksum is made already. */
  tamper?: readonly [number, number];
  imm?: number;
}

export class RawProducer {
  channel!: BootstrapChannel;
  answer!: Answer;
  qp!: QueuePair;
  private readonly device = Device.open(DEVICE);
  private readonly cq: CompletionQueue;
  private readonly memory: MemoryRegion;
  private readonly words: Uint32Array;
  private readonly bytes: Uint8Array;
  private lane: ArrayBuffer | undefined; // mapped
  private tail = 0;
  private sequence = 0;

  private constructor() {
    const pd = this.device.allocateProtectionDomain();
    this.cq = this.device.createCompletionQueue(256);
    const access = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE;
    this.memory = pd.registerMemory({ bytes: STAGING_BYTES, access });
    this.words = new Uint32Array(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.qp = pd.createQueuePair({ sendCq: this.cq, maxSendWr: 128, maxRecvWr: 64 });
  }

  /** Connects and offers; `offer` replaces parts of what an outbox would say. */
  static async connect(inbox: Pick<Inbox, 'bootstrap'>, offer: object = {}): Promise<RawProducer> {
    const raw = new RawProducer();
    const address = raw.device.portAddress();
    raw.channel = await connectBootstrap({
      ...inbox.bootstrap,
      secret: SECRET,
      service: 'onepiece-inbox',
      name: 'raw',
    });
    raw.qp.toInit(address, AccessFlags.REMOTE_WRITE);
    for (let i = 0; i < 64; i++) raw.qp.receives.empty(i, 0);
    raw.qp.postReceive(64);
    raw.channel.send({
      type: 'offer',
      protocol: RING_PROTOCOL,
      transport: address.type === 'soft' ? 'soft' : 'verbs',
      producer: randomBytes(16).toString('hex'),
      inbox: '',
      name: 'raw',
      slots: 8,
      dataBytes: 4096,
      inlineBytes: 0,
      retainMessages: 64,
      acknowledged: 0,
      inPlace: false,
      control: { address: raw.memory.address, rkey: raw.memory.rkey },
      endpoint: raw.qp.endpoint(address),
      ...offer,
    });
    const reply = await raw.channel.receive();
    if (!v.is(Answer, reply)) {
      raw.close();
      throw Object.assign(new Error('refused'), reply);
    }
    raw.answer = reply;
    raw.sequence = reply.delivered;
    raw.qp.toReadyToReceive(address, reply.endpoint);
    raw.qp.toReadyToSend({ timeout: 10 });
    raw.channel.send({ type: 'ready' });
    return raw;
  }

  private get slotBytes(): number {
    return DESCRIPTOR_BYTES + this.answer.inlineBytes;
  }

  // Makes the descriptor of the next message, in the staging memory.
  private describe(payload: Uint8Array, wrong: Wrong): { slot: number; offset: number } {
    const { answer } = this;
    const sequence = wrong.sequence ?? this.sequence + 1;
    const slot = (this.sequence + 1) % answer.slots;
    const offset = this.tail % answer.dataBytes;
    this.sequence++;
    this.tail += alignedLength(payload.length);
    const at = DESCRIPTOR_WORDS;
    const epoch = wrong.epoch ?? answer.epoch;
    const length = wrong.length ?? payload.length;
    encodeDescriptor(this.words, at, epoch, {
      ...emptyDescriptor(),
      kind: wrong.kind ?? MessageKind.DATA,
      flags: wrong.flags ?? 0,
      sequence,
      offset: wrong.offset ?? offset,
      space: wrong.space ?? length,
      length,
      address: wrong.address ?? 0,
    });
    if (wrong.tamper !== undefined) this.words[at + wrong.tamper[0]]! += wrong.tamper[1];
    return { slot, offset };
  }

  /**
   * Stores a message into a lane that is polled, which must be mapped; of its descriptor only the first `words` words.
   */
  store(payload: Uint8Array, wrong: Wrong = {}, words = DESCRIPTOR_WORDS): void {
    const { answer } = this;
    const { slot, offset } = this.describe(payload, wrong);
    const ring = answer.slots * this.slotBytes;
    const lane = this.mapLane();
    const fitting = payload.subarray(0, answer.dataBytes - offset);
    new Uint8Array(lane, ring + offset, fitting.length).set(fitting);
    const at = DESCRIPTOR_WORDS;
    new Uint32Array(lane, slot * this.slotBytes, words).set(this.words.subarray(at, at + words));
  }

  private mapLane(): ArrayBuffer {
    const { memory, slots, dataBytes } = this.answer;
    this.lane ??= this.qp.mapRemote(memory.address, memory.rkey, slots * this.slotBytes + dataBytes).buffer;
    return this.lane;
  }

  /**
   * Stores a short message into its slot, of a lane that is polled and mapped, as an outbox does; `words` replaces
   * words of its descriptor, by their index. With `isShown` false its sequence is left out.
   */
  storeShort(payload: Uint8Array, words: Record<number, number> = {}, isShown = true): void {
    const { answer } = this;
    const sequence = ++this.sequence;
    const at = (sequence % answer.slots) * this.slotBytes;
    const lane = this.mapLane();
    new Uint8Array(lane, at + DESCRIPTOR_BYTES, payload.length).set(payload);
    const slot = new Uint32Array(lane, at, DESCRIPTOR_WORDS);
    const made = new Uint32Array(DESCRIPTOR_WORDS);
    publishShort(made, 0, answer.epoch, sequence, payload.length);
    for (const [index, word] of Object.entries(words)) made[Number(index)] = word;
    const shown = made[2]!;
    made[2] = slot[2]!;
    slot.set(made);
    if (isShown) slot[2] = shown;
  }

  /** Stores the sequence that storeShort() has left out. */
  showShort(): void {
    new Uint32Array(this.lane!, (this.sequence % this.answer.slots) * this.slotBytes, 3)[2] = this.sequence;
  }

  /** Stores what was left out of the descriptor of the last message. */
  storeRest(): void {
    const slot = this.sequence % this.answer.slots;
    const at = DESCRIPTOR_WORDS;
    new Uint32Array(this.lane!, slot * this.slotBytes, at).set(this.words.subarray(at, 2 * at));
  }

  /** Writes a message; `wrong` makes it a wrong one. */
  write(payload: Uint8Array, wrong: Wrong = {}): void {
    const { answer, memory } = this;
    this.bytes.set(payload, DATA_AT);
    const { slot, offset } = this.describe(payload, wrong);
    const { address, rkey } = answer.memory;
    const data = address + answer.slots * this.slotBytes + offset;
    const imm = wrong.imm ?? laneImm(answer.lane, 1);
    const to = address + slot * this.slotBytes;
    const from = memory.address + DESCRIPTOR_BYTES;
    this.qp.sends.write(0, 0, 0, data, rkey, memory.address + DATA_AT, payload.length, memory.lkey);
    this.qp.sends.writeWithImm(1, 1, SendFlags.SIGNALED, imm, to, rkey, from, DESCRIPTOR_BYTES, memory.lkey);
    this.qp.postSend(2);
  }

  /**
   * WRITEs any words as the descriptor of slot `slot` and what lies behind it, with an immediate that announces one
   * message, and `payload` before it to `offset` in the data ring.
   */
  writeWords(slot: number, words: Uint32Array, offset: number, payload: Uint8Array): void {
    const { answer, memory } = this;
    this.bytes.set(payload, DATA_AT);
    this.words.set(words, DESCRIPTOR_WORDS);
    const { address, rkey } = answer.memory;
    const data = address + answer.slots * this.slotBytes + offset;
    this.qp.sends.write(0, 0, 0, data, rkey, memory.address + DATA_AT, payload.length, memory.lkey);
    const to = address + slot * this.slotBytes;
    const from = memory.address + DESCRIPTOR_BYTES;
    const imm = laneImm(answer.lane, 1);
    this.qp.sends.writeWithImm(1, 1, SendFlags.SIGNALED, imm, to, rkey, from, words.byteLength, memory.lkey);
    this.qp.postSend(2);
  }

  /** The next slot, with a right descriptor and the message behind it, or in the data ring at `offset`. */
  slotOf(payload: Uint8Array, wrong: Wrong = {}): { words: Uint32Array; slot: number; offset: number } {
    const isInline = ((wrong.flags ?? 0) & DescriptorFlags.INLINE) !== 0;
    this.words.fill(0, 2 * DESCRIPTOR_WORDS, DESCRIPTOR_WORDS + this.slotBytes / 4);
    if (isInline) this.bytes.set(payload.subarray(0, this.answer.inlineBytes), 2 * DESCRIPTOR_BYTES);
    const { slot, offset } = this.describe(isInline ? new Uint8Array(0) : payload, {
      length: payload.length,
      space: isInline ? 0 : payload.length,
      ...wrong,
    });
    return { words: this.words.slice(DESCRIPTOR_WORDS, DESCRIPTOR_WORDS + this.slotBytes / 4), slot, offset };
  }

  /** WRITEs words into a slot, from word `from` of it on; nothing announces them. Answers when they are there. */
  async show(slot: number, words: Uint32Array, from = 0): Promise<void> {
    const { address, rkey } = this.answer.memory;
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    await this.writeTo(address + slot * this.slotBytes + from * 4, rkey, bytes);
  }

  /** WRITEs `payload` to the data ring, and an immediate with it. Answers when it is there. */
  async land(offset: number, payload: Uint8Array, imm: number): Promise<void> {
    const { answer, memory } = this;
    this.bytes.set(payload, DATA_AT);
    const to = answer.memory.address + answer.slots * this.slotBytes + offset;
    const from = memory.address + DATA_AT;
    const { rkey } = answer.memory;
    this.qp.sends.writeWithImm(0, 8, SendFlags.SIGNALED, imm, to, rkey, from, payload.length, memory.lkey);
    this.qp.postSend(1);
    await this.status(8);
  }

  /** WRITEs `payload` to any address with any key; answers the status of its completion. */
  async writeTo(address: number, rkey: number, payload: Uint8Array): Promise<number> {
    this.bytes.set(payload, DATA_AT);
    const { memory } = this;
    this.qp.sends.write(0, 7, SendFlags.SIGNALED, address, rkey, memory.address + DATA_AT, payload.length, memory.lkey);
    this.qp.postSend(1);
    return this.status(7);
  }

  /** A SEND, which no outbox makes. */
  send(length: number): void {
    const { memory } = this;
    this.qp.sends.send(0, 3, SendFlags.SIGNALED, memory.address + DATA_AT, length, memory.lkey);
    this.qp.postSend(1);
  }

  /** The status with which the request `wrId` completes. */
  async status(wrId: number): Promise<number> {
    let status = -1;
    await until('the request completes', () => {
      const count = this.cq.poll();
      for (let i = 0; i < count; i++) {
        const { completions } = this.cq;
        if (completions.wrId(i) === wrId) status = completions.status(i);
      }
      return status >= 0;
    });
    return status;
  }

  close(): void {
    this.channel?.destroy();
    this.device.close();
  }
}
