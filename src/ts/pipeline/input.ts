// One input of a task: a message that has left its lane, and the memory of its tensors.
//
// Invariant: the sender keeps the message and its blocks until acknowledge(). Until then its tensors may be read, and
// sent on by reference. It is acknowledged once.
import type { InboxMessage, MemoryPool, MemoryReference } from '../ring/index.js';
import { RdmaError } from '../core/errors.js';
import { metaOf, type PartEntry, type Parts, readTable, traceOf } from './body.js';
import { type Envelope, headBytes, NO_DEADLINE, refused } from './envelope.js';
import { decodeMeta, type Meta } from './meta.js';
import type { Patience } from './patience.js';
import { GATEWAY_INDEX, placeName } from './plan.js';
import { REQUEST, type WorkflowSpec } from './spec.js';
import { elementBytes, type Tensor, viewTensor } from './tensor.js';
import { viewOf } from './view.js';

/** What handlers see of one input; what one stage instance, or the client, has sent. */
export interface StageInput {
  /** Name of the stage; `request` for the request itself. */
  readonly stage: string;
  readonly instance: number;
  readonly meta: Meta;
  /**
   * Tensors by name: views of received memory, valid until the handler has ended. Treat them as read-only: other stages
   * may see the same memory, and it is what is sent again when a process dies.
   */
  readonly parts: Parts;
  /** All that the stage has published by StageTask.stream(), in order; [] when it publishes no pieces. */
  readonly pieces: readonly StagePiece[];
}

/** One piece of a stream, as handlers see it. */
export interface StagePiece {
  /** Name of the stage that published it, and which of its instances. */
  readonly stage: string;
  readonly instance: number;
  /** 0, 1 ... in the stream of that instance. */
  readonly number: number;
  readonly meta: Meta;
  /** As {@link StageInput.parts}. */
  readonly parts: Parts;
}

export class Input implements StageInput, StagePiece {
  readonly stage: string;
  readonly instance: number;
  readonly envelope: Envelope;
  /** Bytes of its tensors and its head. */
  readonly bytes: number;
  /** When it came, and when its request is due, by the clock of this process in microseconds; Infinity: never. */
  readonly arrivedUs: number;
  readonly deadlineUs: number;
  /** How long it was under way, in microseconds; -1: the clocks are not the same. */
  readonly hopUs: number;
  /** @internal The stream that it closes. */
  closes: { readonly pieces: readonly StagePiece[] } | undefined;
  /** @internal How long it is waited for, once it could not be read at once. */
  patience: Patience | undefined;
  private readonly mapped: MemoryReference[] = []; // blocks of the sender's that are mapped here
  private inBlocks: Map<object, MemoryReference> | undefined; // by the data of a tensor that lies in one
  private message: InboxMessage | undefined;
  private reads = 0; // under way
  private owed: InboxMessage[] = []; // to be acknowledged when none is
  private holders = 0;
  private body: Uint8Array = NOTHING; // where its body lies, and where it begins in that
  private bodyAt = 0;
  private decodedMeta: Meta | undefined;
  private tensors: Parts = NO_PARTS;
  private loaded = false;

  /** @param sharesClock true when the sender is on this host */
  constructor(spec: WorkflowSpec, envelope: Envelope, message: InboxMessage, nowUs: number, sharesClock: boolean) {
    const { remainingMs } = envelope;
    this.arrivedUs = nowUs;
    this.deadlineUs = remainingMs === NO_DEADLINE ? Number.POSITIVE_INFINITY : nowUs + remainingMs * 1000;
    this.hopUs = sharesClock ? Math.max(0, nowUs - envelope.sentAtUs) : -1;
    this.envelope = envelope;
    this.stage = envelope.fromStage === GATEWAY_INDEX ? REQUEST : spec.stages[envelope.fromStage]!.name;
    this.instance = envelope.fromInstance;
    this.message = message;
    this.bytes = message.length + (envelope.block === undefined ? 0 : envelope.bodyBytes);
  }

  /** True when parts and metadata can be read. */
  get isLoaded(): boolean {
    return this.loaded;
  }

  get sender(): string {
    return `${this.stage}/${this.instance}`;
  }

  get number(): number {
    return this.envelope.piece;
  }

  get pieces(): readonly StagePiece[] {
    return this.closes?.pieces ?? NO_PIECES;
  }

  get meta(): Meta {
    const { envelope } = this;
    const isThere = this.body !== NOTHING && envelope.metaBytes > 0;
    this.decodedMeta ??= decodeMeta(isThere ? metaOf(envelope, this.body, this.bodyAt) : NOTHING);
    return this.decodedMeta;
  }

  /** Its trace records; empty when it is not traced. */
  get records(): Uint8Array {
    const { envelope } = this;
    return this.body === NOTHING || envelope.traceBytes === 0 ? NOTHING : traceOf(envelope, this.body, this.bodyAt);
  }

  get parts(): Parts {
    return this.tensors;
  }

  /**
   * Makes parts and metadata readable: by mapping what is in the sender's memory, or by READing it where memory is not
   * shared.
   *
   * @param bytes the message, a copy that belongs to this input
   * @param view the same memory
   * @returns undefined when it is loaded now; else a promise
   * @throws RdmaError RDMA_ERR_PROTOCOL when the message is not well-formed
   */
  load(bytes: Uint8Array, view = viewOf(bytes)): Promise<void> | undefined {
    const { envelope } = this;
    if (envelope.block === undefined) return this.open(bytes, view, headBytes(envelope.runs.length), undefined);
    const mapped = this.map(envelope.block);
    if (mapped !== undefined) return this.open(mapped, viewOf(mapped), 0, envelope.block);
    return this.read(envelope.block).then((body) => this.open(body, viewOf(body), 0, undefined));
  }

  private map(reference: MemoryReference): Uint8Array | undefined {
    const bytes = this.message?.map(reference);
    if (bytes !== undefined) this.mapped.push(reference);
    return bytes;
  }

  private read(reference: MemoryReference): Promise<Uint8Array> {
    const into = new Uint8Array(reference.length);
    this.reads++;
    return this.message!.read(reference, into)
      .finally(() => this.readEnded())
      .then(() => into);
  }

  private readEnded(): void {
    if (--this.reads > 0) return;
    for (const message of this.owed.splice(0)) message.acknowledge();
  }

  // What is read from must stay until it was.
  private acknowledgeWhenRead(message: InboxMessage | undefined): void {
    if (message === undefined) return;
    if (this.reads > 0) this.owed.push(message);
    else message.acknowledge();
  }

  // `at`: where the body begins in `body`; `block`: where it lies in the sender's memory.
  private open(
    body: Uint8Array,
    view: DataView,
    at: number,
    block: MemoryReference | undefined,
  ): Promise<void> | undefined {
    const { envelope } = this;
    const entries = envelope.partCount === 0 ? NO_ENTRIES : readTable(envelope, body, view, at);
    this.body = body;
    this.bodyAt = at;
    const parts: Record<string, Tensor> = new PartsByName();
    let reads: Promise<void>[] | undefined;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      const { name, reference, offset } = entry;
      if (reference === undefined) {
        const part = this.view(entry, body, at + offset);
        parts[name] = part;
        if (block !== undefined) this.note(part, { ...block, address: block.address + offset, length: entry.bytes });
        continue;
      }
      const mapped = this.map(reference);
      if (mapped !== undefined) {
        parts[name] = this.view(entry, mapped, 0);
        this.note(parts[name]!, reference);
        continue;
      }
      reads ??= [];
      const read = this.read(reference).then((bytes) => {
        parts[name] = this.view(entry, bytes, 0);
      });
      reads.push(read);
    }
    this.tensors = parts;
    if (reads === undefined) {
      this.loaded = true;
      return undefined;
    }
    return Promise.all(reads).then(() => {
      this.loaded = true;
    });
  }

  private view({ name, dtype, shape }: PartEntry, bytes: Uint8Array, offset: number): Tensor {
    const at = bytes.byteOffset + offset;
    if (at % elementBytes(dtype) !== 0) throw refused(`part ${name} is not aligned in memory`);
    return viewTensor(dtype, shape, bytes.buffer, at);
  }

  private note(tensor: Tensor, reference: MemoryReference): void {
    this.inBlocks ??= new Map();
    this.inBlocks.set(tensor.data, reference);
  }

  /**
   * A reference to a tensor of this input, for messages of this place: its receivers map the sender's memory from here.
   *
   * @param data of the tensor
   * @returns undefined when it does not lie in memory that can be handed on
   */
  handOn(data: object, pool: MemoryPool): MemoryReference | undefined {
    const reference = this.inBlocks?.get(data);
    return reference === undefined ? undefined : this.message?.handOn(reference, pool);
  }

  /** True while a task needs it. */
  get isHeld(): boolean {
    return this.holders > 0;
  }

  /** One more task needs it. */
  hold(): void {
    this.holders++;
  }

  /** A task does not need it any more; when none does, the sender may forget it. */
  letGo(): void {
    this.holders--;
    if (this.holders === 0) this.acknowledge();
  }

  /** Another copy of the same message came: the older one is acknowledged in its place. */
  exchange(newer: Input): void {
    const { message } = newer;
    newer.message = undefined;
    if (this.message === undefined) {
      message?.acknowledge();
      return;
    }
    // What is mapped stays mapped for the newer one.
    if (message !== undefined) for (const reference of this.mapped) message.map(reference);
    this.acknowledgeWhenRead(this.message);
    this.message = message;
  }

  /** The sender may forget it. Its tensors are not to be used any more. */
  acknowledge(): void {
    const { message } = this;
    this.message = undefined;
    this.inBlocks = undefined;
    this.acknowledgeWhenRead(message);
  }
}

const NOTHING = new Uint8Array(0);

// Tensors by name, without the names that every object has. Not Object.create(null): V8 makes a hash table of that.
class PartsByName {
  [name: string]: Tensor;
}
Object.setPrototypeOf(PartsByName.prototype, null);
delete (PartsByName.prototype as { constructor?: unknown }).constructor;

const NO_PARTS: Parts = Object.freeze(Object.create(null));
const NO_PIECES: readonly StagePiece[] = Object.freeze([]);
const NO_ENTRIES: readonly PartEntry[] = [];

/** For errors: who a message came from. */
export function senderName(spec: WorkflowSpec, envelope: Envelope): string {
  return placeName(spec, { stage: envelope.fromStage, instance: envelope.fromInstance });
}

/** The error of an input whose sender has gone before its memory could be read. */
export function lost(input: Input, cause: unknown): RdmaError {
  return new RdmaError('RDMA_ERR_PEER_GONE', `the input from ${input.sender} cannot be read: ${String(cause)}`, {
    cause,
  });
}
