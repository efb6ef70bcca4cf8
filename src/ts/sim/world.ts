// One simulated world: processes, what connects them, and the rules that are watched while they run.
//
// Invariant: everything in it is made for one run and forgotten with it; two runs with the same choices are the same.
import { inspect } from 'node:util';
import type { Choices } from './choices.js';
import { SimDevice } from './device.js';
import type { SimRegion } from './memory.js';
import { SimNetwork } from './network.js';
import { ProcessDied, SimProcess } from './process.js';
import type { SimQueuePair } from './queue-pair.js';
import { type EventOwner, Scheduler, SimDefect } from './scheduler.js';
import type { SimRequest } from './work-request.js';

/** Defects that can be planted in the device, to see that they are found. */
export type DeviceFlaw =
  /** Deregistering leaves the key alive. */
  | 'deregister-keeps-key'
  /** Destroying a queue pair leaves its peer connected. */
  | 'close-leaves-connection'
  /** Of the requests of one doorbell, the last two change places: a descriptor overtakes its payload. */
  | 'requests-reordered'
  /** The poll after an arming brings nothing, as if nobody looked once more. */
  | 'blind-after-arming';

export interface WorldOptions {
  /**
   * Who moves the bytes. `device`: a network card, which goes on when the process stops, and whose packets may arrive
   * after its end. `process`: the posting process itself, as on soft0: stopped with it, in the middle of a copy.
   */
  copier: 'device' | 'process';
  /** How often a WRITE rests in the middle, 0 to 1. */
  tearShare: number;
  /**
   * The bytes of WRITEs are seen in any order, as the InfiniBand Architecture Specification allows until something
   * completes behind them (o9-20): of a WRITE that rests, the last ones first; those of the next WRITE before its own.
   */
  weakOrder: boolean;
  /** Completions that one poll can bring. */
  pollBatch: number;
  /** True: that a region has two writers is a defect. */
  oneWriter: boolean;
  flaw?: DeviceFlaw;
}

export class SimWorld {
  readonly choices: Choices;
  readonly options: WorldOptions;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly processes: SimProcess[] = [];
  readonly devices: SimDevice[] = [];
  /** Called before each step, at rest. */
  onStep: (() => void) | undefined;
  /** What was seen that must never be. */
  readonly broken: string[] = [];
  /** Asked before each work request is handed to the device: true kills the process there. */
  killAt: ((process: SimProcess) => boolean) | undefined;
  /** How often bytes have landed. */
  landings = 0;
  /** Receives that were missing when an immediate came. */
  missingReceives = 0;
  private readonly queuePairs = new Map<number, SimQueuePair>();
  private lastQpNum = 0x10;
  private lastIdentity = 0;

  constructor(choices: Choices, options: WorldOptions) {
    this.choices = choices;
    this.options = options;
    this.scheduler = new Scheduler(choices);
    this.network = new SimNetwork(this.scheduler);
    // What a process has stored is seen by all others at the next step, and what they have stored is seen by its code.
    this.scheduler.onCode = (owner) => this.carryMappings(owner);
    this.scheduler.onStep = () => {
      this.carryMappings(this.scheduler.ran);
      this.onStep?.();
    };
    this.scheduler.onError = (error) => this.caught(error);
  }

  private carryMappings(of: EventOwner | undefined): void {
    if (this.options.copier !== 'process') return; // a network card maps nothing
    for (const device of this.devices) {
      const { process } = device;
      if (process.state === 'running' && (of === undefined || of === process)) device.carryMappings();
    }
  }

  process(name: string): SimProcess {
    const process = new SimProcess(name, this.scheduler);
    this.processes.push(process);
    return process;
  }

  openDevice(process: SimProcess): SimDevice {
    process.checkAlive();
    const device = new SimDevice(this, process, (this.devices.length + 1).toString(16).padStart(32, 'f'));
    this.devices.push(device);
    return device;
  }

  identity(): string {
    return (++this.lastIdentity).toString(16).padStart(32, '0');
  }

  /** An error that nobody has caught: of a process that has died it is no news. */
  caught(error: unknown): void {
    if (error instanceof ProcessDied) return;
    this.broken.push(error instanceof SimDefect ? error.message : `an error that nobody caught: ${inspect(error)}`);
  }

  // ---- For the device

  get revokes(): boolean {
    return this.options.flaw !== 'deregister-keeps-key';
  }

  nextQpNum(): number {
    return ++this.lastQpNum;
  }

  addQueuePair(qp: SimQueuePair): void {
    this.queuePairs.set(qp.qpNum, qp);
  }

  removeQueuePair(qp: SimQueuePair): void {
    if (this.options.flaw !== 'close-leaves-connection') this.queuePairs.delete(qp.qpNum);
  }

  /** Queue pairs that are not closed, in the order in which they were made. */
  openQueuePairs(): SimQueuePair[] {
    return [...this.queuePairs.values()].filter((qp) => !qp.closed);
  }

  findQueuePair(remote: { qpNum: number; gid: string }): SimQueuePair | undefined {
    const qp = this.queuePairs.get(remote.qpNum);
    return qp?.domain.device.gid === remote.gid ? qp : undefined;
  }

  /** After how many of `left` bytes, at least 2, a copy rests. */
  tearAt(left: number): number {
    return this.choices.exhaustive ? left >> 1 : 1 + this.choices.pick(left - 1, 'tear');
  }

  /** A process hands a request to the device: it may die right before. @throws ProcessDied */
  beforeRequest(process: SimProcess): void {
    if (this.killAt?.(process)) {
      process.crash();
      throw new ProcessDied(process.name);
    }
  }

  arrange(posted: SimRequest[]): void {
    if (this.options.flaw !== 'requests-reordered' || posted.length < 2) return;
    const last = posted.length - 1;
    const descriptor = posted[last]!;
    // The immediate stays behind its descriptor; payload and descriptor change places.
    posted[last] = posted[last - 1]!;
    posted[last - 1] = descriptor;
  }

  /** Bytes of `writer` land in a region: with lanes, nobody else's may ever have. */
  landing(region: SimRegion, address: number, bytes: number, writer: SimQueuePair): void {
    this.landings++;
    if (!region.holds(address, bytes)) this.broken.push(`${bytes} bytes landed outside of a region`);
    if (region.writer === undefined) region.writer = writer;
    else if (region.writer !== writer && this.options.oneWriter) this.broken.push('a region has two writers');
    if (region.sealed) this.broken.push(`${writer.domain.device.process.name} has written to a lane that was fenced`);
  }

  onNoReceive(_from: SimQueuePair, _to: SimQueuePair): void {
    this.missingReceives++;
  }
}
