// The simulated device as one process has opened it, and its protection domains.
//
// Invariant: parents close their children first; what is not closed is counted in `objects`. Every call is a system
// call: the device goes on by itself before it, and it has no effect when the process is dead.
import { RdmaError } from '../core/errors.js';
import type {
  PortCompletionQueue,
  PortDevice,
  PortDomain,
  PortMapping,
  PortMemory,
  PortQueuePair,
} from '../ring/port.js';
import type { PortAddress } from '../verbs/index.js';
import { SimCompletionChannel, SimCompletionQueue } from './completion-queue.js';
import { KeyTable, SimMapping, SimRegion, systemError } from './memory.js';
import type { SimProcess } from './process.js';
import { SimQueuePair } from './queue-pair.js';
import type { SimWorld } from './world.js';

/** What a system call takes, in ms. */
const CALL_MS = 0.0003;
const MAX_CQE = 65536;
const MAX_QP_WR = 16384;

export class SimDevice implements PortDevice {
  readonly name = 'sim0';
  readonly attributes = { maxCqe: MAX_CQE, maxQpWr: MAX_QP_WR };
  readonly world: SimWorld;
  readonly process: SimProcess;
  /** What is open. */
  readonly objects = new Set<object>();
  readonly keys = new KeyTable();
  readonly mappings = new Set<SimMapping>();
  readonly gid: string;
  private readonly queuePairs = new Set<SimQueuePair>();
  private readonly domains = new Set<SimDomain>();

  constructor(world: SimWorld, process: SimProcess, gid: string) {
    this.world = world;
    this.process = process;
    this.gid = gid;
    process.onDeath.push(() => this.die());
  }

  /** At the door of every call. False: the process is dead, and the call must do nothing. */
  enter(): boolean {
    if (this.process.state === 'dead') return false;
    this.carryMappings();
    this.world.scheduler.interleave(CALL_MS);
    return true;
  }

  carryMappings(): void {
    for (const mapping of this.mappings) mapping.carry();
  }

  portAddress(): PortAddress {
    const type = this.world.options.copier === 'process' ? 'soft' : 'RoCE v2';
    return { index: 0, gid: this.gid, type, netdev: '', why: 'simulated', port: 1, lid: 0, mtu: 5, isGlobal: true };
  }

  allocateProtectionDomain(): SimDomain {
    this.process.checkAlive();
    const domain = new SimDomain(this);
    this.domains.add(domain);
    return domain;
  }

  createCompletionChannel(onEvent: () => void): SimCompletionChannel {
    this.process.checkAlive();
    return new SimCompletionChannel(this, onEvent);
  }

  createCompletionQueue(capacity: number, channel?: { close(): void }): SimCompletionQueue {
    this.process.checkAlive();
    if (!(capacity >= 1 && capacity <= MAX_CQE)) {
      throw systemError('EINVAL', 'ibv_create_cq', `a completion queue of ${capacity}`);
    }
    if (channel !== undefined && !(channel instanceof SimCompletionChannel)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'the completion channel is of another device');
    }
    return new SimCompletionQueue(this, capacity, channel);
  }

  addQueuePair(qp: SimQueuePair): void {
    this.queuePairs.add(qp);
    this.objects.add(qp);
    this.world.addQueuePair(qp);
  }

  removeQueuePair(qp: SimQueuePair): void {
    this.queuePairs.delete(qp);
    this.objects.delete(qp);
    this.world.removeQueuePair(qp);
  }

  removeDomain(domain: SimDomain): void {
    this.domains.delete(domain);
  }

  queuePairsOf(cq: SimCompletionQueue): SimQueuePair[] {
    return [...this.queuePairs].filter((qp) => qp.cq === cq);
  }

  /** The process has ended: everything goes away without a word. */
  private die(): void {
    // Some of what it was just storing in mapped memory has arrived.
    let left = this.mappings.size === 0 ? 0 : this.world.choices.pick(64, 'tear');
    for (const mapping of this.mappings) left = mapping.carrySome(left);
    for (const qp of [...this.queuePairs]) qp.vanish();
  }

  close(): void {
    for (const domain of [...this.domains]) domain.close();
  }
}

export class SimDomain implements PortDomain {
  readonly device: SimDevice;
  readonly regions = new Set<SimRegion>();
  readonly queuePairs = new Set<SimQueuePair>();
  private closed = false;

  constructor(device: SimDevice) {
    this.device = device;
    device.objects.add(this);
  }

  private checkOpen(): void {
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the protection domain is closed');
  }

  registerMemory(options: { bytes?: number; buffer?: Uint8Array; access?: number }): PortMemory {
    this.device.process.checkAlive();
    this.checkOpen();
    const region = new SimRegion(this.device, this, options);
    this.regions.add(region);
    return region;
  }

  registerMapping(mapping: PortMapping, access: number): PortMemory {
    if (!(mapping instanceof SimMapping)) {
      throw systemError('ENOTSUP', 'ibv_reg_mr', 'the mapping is of another kind of device');
    }
    const region = this.registerMemory({ buffer: new Uint8Array(mapping.buffer), access }) as SimRegion;
    mapping.regions.add(region);
    return region;
  }

  createQueuePair(options: { sendCq: PortCompletionQueue; maxSendWr?: number; maxRecvWr?: number }): PortQueuePair {
    this.device.process.checkAlive();
    this.checkOpen();
    if (!(options.sendCq instanceof SimCompletionQueue)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'the completion queue is of another device');
    }
    const maxSendWr = options.maxSendWr ?? 128;
    const maxRecvWr = options.maxRecvWr ?? 128;
    if (maxSendWr > MAX_QP_WR || maxRecvWr > MAX_QP_WR) {
      throw systemError('EINVAL', 'ibv_create_qp', `${maxSendWr} sends and ${maxRecvWr} receives`);
    }
    const qp = new SimQueuePair(this, options.sendCq, maxSendWr, maxRecvWr);
    this.queuePairs.add(qp);
    return qp;
  }

  close(): void {
    if (this.closed || this.device.process.state === 'dead') return;
    for (const qp of [...this.queuePairs]) qp.close();
    for (const region of [...this.regions]) region.close();
    this.closed = true;
    this.device.removeDomain(this);
    this.device.objects.delete(this);
  }
}
