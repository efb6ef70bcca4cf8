// One task of a stage in Python: what its Python process gets, and what comes back.
//
// Invariant: a task ends once. Its inputs and outputs are held here until its Python process has answered or has ended,
// whoever does not want it any more meanwhile. What Python says of memory is checked against the memory.
import { closeSync } from 'node:fs';
import { RdmaError } from '../../core/errors.js';
import type { Dtype, Parts, StageOutput, Tensor } from '../../pipeline/index.js';
import type { StageInput } from '../../pipeline/index.js';
import type { Task } from '../../pipeline/task.js';
import { elementBytes, elementCount, viewTensor } from '../../pipeline/tensor.js';
import type { PythonChild } from './child.js';
import type { GpuOutputs } from './gpu-outputs.js';
import { gpuPart, readGpuPart } from './gpu-parts.js';
import type { FromPython, PlacedInput, PlacedPart, ReturnedPart, TaskRecord } from './records.js';
import { makeRoom, type Room, type Rooms } from './rooms.js';
import type { Location } from './segments.js';

/** Beside what is copied into it a room has so much for small outputs, in bytes. */
const SMALL_OUTPUTS_BYTES = 32 * 1024;
const ALIGN_BYTES = 64;
const aligned = (bytes: number) => Math.ceil(bytes / ALIGN_BYTES) * ALIGN_BYTES;

/** What the tasks of a stage have in common. */
export interface EntryHost {
  readonly rooms: Rooms;
  /** The stages whose outputs it takes. */
  readonly after: readonly string[];
  /** Outputs of more bytes are made in memory of their own. */
  readonly inlineBytes: number;
  /** The most bytes of an output. */
  readonly maxOutputBytes: number;
  readonly gpu: GpuOutputs;
  /** Bytes were copied to or from its Python process. */
  copied(bytes: number): void;
}

export class Entry {
  readonly task: Task;
  readonly promise: Promise<StageOutput>;
  /** Tries in which it ran alone and its process ended. */
  tries = 0;
  /** It runs alone: a process that ran several tasks has ended, and nobody knows which was to blame. */
  isAlone = false;
  /** Ends the watch over its signal. */
  unwatch: (() => void) | undefined;
  private readonly host: EntryHost;
  private resolve!: (output: StageOutput) => void;
  private reject!: (error: unknown) => void;
  private over = false;
  private isAway = false;
  private room: Room | undefined;
  private roomAt = 0; // where small outputs begin
  private inputs: readonly StageInput[] = [];
  private outputs = new Map<number, Tensor>();
  private extra: Room[] = []; // memory of outputs that the pool does not have, or cannot share

  constructor(host: EntryHost, task: Task) {
    this.host = host;
    this.task = task;
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Whoever waits for it sees it too.
    this.promise.catch(() => {});
  }

  get isOver(): boolean {
    return this.over;
  }

  /** The record for its process. @throws RdmaError ENOMEM, EMFILE; EPIPE when the process has gone */
  describe(child: PythonChild, slot: number, run: boolean): TaskRecord {
    const { task, host } = this;
    this.inputs = host.after.flatMap((stage) => task.inputs(stage));
    const outside = this.copySize(child);
    this.room = host.rooms.take(outside + SMALL_OUTPUTS_BYTES);
    let at = 0;
    const inputs: PlacedInput[] = [];
    for (const { stage, instance, meta, parts } of this.inputs) {
      const placed: PlacedPart[] = [];
      for (const [name, part] of Object.entries(parts)) {
        const { dtype, shape, data } = part;
        const onGpu = readGpuPart(stage, name, part);
        if (onGpu !== undefined) {
          placed.push([onGpu.name, onGpu.dtype, onGpu.shape, 0, 0, onGpu.bytes, onGpu.words]);
          continue;
        }
        let found: Location | undefined = child.segments.locate(data);
        if (found === undefined) {
          new Uint8Array(this.room.buffer, at, data.byteLength).set(bytesOf(data));
          found = { ...this.placeOf(child, this.room), offset: at };
          at += aligned(data.byteLength);
          host.copied(data.byteLength);
        }
        placed.push([name, dtype, shape, found.segment, found.offset, data.byteLength]);
      }
      inputs.push([stage, instance, meta, placed]);
    }
    this.roomAt = at;
    const { segment } = this.placeOf(child, this.room);
    return {
      t: 'task',
      slot,
      run,
      request: task.request,
      seed: task.seed,
      instance: task.instance,
      instances: task.instances,
      spread: task.spread,
      remaining: task.remainingMs ?? null,
      inputs,
      room: [segment, at, this.room.buffer.byteLength],
      inline: Math.min(host.inlineBytes, SMALL_OUTPUTS_BYTES),
      limit: host.maxOutputBytes,
      gpu: host.gpu.peersOf(task),
    };
  }

  private copySize(child: PythonChild): number {
    let bytes = 0;
    for (const { stage, parts } of this.inputs) {
      for (const [name, part] of Object.entries(parts)) {
        const { data } = part;
        if (readGpuPart(stage, name, part) !== undefined) continue;
        if (child.segments.locate(data) === undefined) bytes += aligned(data.byteLength);
      }
    }
    return bytes;
  }

  private placeOf(child: PythonChild, { buffer, pages }: Room): Location {
    return child.segments.locate({ buffer, byteOffset: 0 }, pages)!;
  }

  /** Memory for an output. @throws RdmaError as StageTask.output */
  allocate(child: PythonChild, name: string, dtype: string, shape: readonly number[]): Location & { tensor: Tensor } {
    const shaped = { dtype: dtype as Dtype, shape };
    const made = this.task.output({ [name]: shaped })[name]!;
    const found = child.segments.locate(made.data);
    if (found !== undefined) return { ...found, tensor: made };
    const room = makeRoom(made.data.byteLength);
    this.extra.push(room);
    const tensor = viewTensor(shaped.dtype, shape, room.buffer, 0);
    return { ...this.placeOf(child, room), tensor };
  }

  /** An output whose memory was asked for, by the number that Python has given it. */
  made(id: number, tensor: Tensor): void {
    this.outputs.set(id, tensor);
  }

  /** Ends it with what Python has returned; with an error when that cannot be right. */
  finish({ meta, parts, copied }: FromPython & { t: 'done' }): void {
    let output: StageOutput;
    try {
      const tensors: Record<string, Tensor> = Object.create(null);
      // First of all: whatever comes of the others, these are given back.
      for (const part of parts) if (part[0] === 'g') this.task.keep(this.host.gpu.hold(part[4]));
      let onGpu = 0;
      for (const part of parts) {
        if (part[0] === 'g') {
          const [name, tensor] = gpuPart(onGpu++, part[1], part[2], part[3], part[5]);
          tensors[name] = tensor;
        } else tensors[String(part[1])] = this.partOf(part);
      }
      output = { meta, parts: tensors as Parts };
      this.host.copied(copied);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.end();
    this.resolve(output);
  }

  private partOf(part: Exclude<ReturnedPart, readonly ['g', ...unknown[]]>): Tensor {
    let found: Tensor | undefined;
    if (part[0] === 'o') {
      found = this.outputs.get(part[2]);
      if (this.extra.some(({ buffer }) => buffer === found?.data.buffer)) this.host.copied(found!.data.byteLength);
    } else if (part[0] === 'i') found = this.inputs[part[2]]?.parts[part[3]];
    else if (part[0] === 'a') found = this.small(part[2] as Dtype, part[3], part[4]);
    if (found === undefined) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `the Python process returned ${String(part[1])}, which is nowhere`);
    }
    return found;
  }

  // Made in the room: it goes to another task soon.
  private small(dtype: Dtype, shape: readonly number[], offset: number): Tensor | undefined {
    const bytes = elementBytes(dtype) * elementCount(shape);
    const { buffer } = this.room!;
    const isInside = Number.isSafeInteger(offset) && offset >= this.roomAt && offset + bytes <= buffer.byteLength;
    if (!isInside || !Number.isSafeInteger(bytes)) return undefined;
    this.host.copied(bytes);
    return viewTensor(dtype, shape, buffer.slice(offset, offset + bytes), 0);
  }

  fail(error: unknown): void {
    this.end();
    this.reject(error);
  }

  private end(): void {
    this.over = true;
    this.unwatch?.();
    this.unwatch = undefined;
    this.leave();
  }

  /** Whether it waits for a process: that time is not its own. */
  away(isAway: boolean): void {
    if (this.isAway === isAway) return;
    this.isAway = isAway;
    this.task.onAway?.(isAway);
  }

  /** Fails with `reason` unless it has ended by then. */
  waitFor(ms: number, reason: () => unknown): void {
    const { unwatch } = this;
    const timer = setTimeout(() => this.fail(reason()), ms);
    this.unwatch = () => {
      clearTimeout(timer);
      unwatch?.();
    };
  }

  /** No process has it any more. */
  leave(): void {
    if (this.room !== undefined) this.host.rooms.give(this.room);
    this.room = undefined;
    // Not unmapped: outputs are sent from there. The last of its users unmaps it.
    for (const { pages } of this.extra) closeSync(pages.fd);
    this.extra = [];
    this.outputs = new Map();
    this.inputs = [];
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView | Tensor['data']): Uint8Array =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
