// The GPUs and the memory of this host that each instance of a pipeline holds.
//
// Invariant: an instance holds what its stage needs from before its process starts until after it has ended, and every
// process of its place gets the same GPUs. Two instances share a GPU only if both state how much of its memory they
// need. Cores and labels matter only for nodes and do not count here.
import { RdmaError } from '../core/errors.js';
import { bytesInWords } from '../core/memory-room.js';
import { type Plan, placeName, type StageSpec, stagePlaces, type WorkflowSpec } from '../pipeline/index.js';
import { NO_RESOURCES } from '../pipeline/resources.js';
import { checkNode } from '../planner/policies.js';
import { Ledger, type Need, needOf } from '../planner/ledger.js';
import { type GpuInventory, readGpus, visibleDevices } from './gpus.js';
import { machineMemoryBytes } from './machine-memory.js';

/** What this host has for stages. */
export interface MachineRoom {
  readonly memoryBytes: number;
  /** In CUDA's order, as this process sees them. */
  readonly gpus: readonly { readonly memoryBytes: number }[];
  /** Why there are no GPUs, for messages. */
  readonly whyNone?: string;
}

interface Held {
  readonly need: Need;
  readonly gpus: readonly number[];
}

/** @returns whether any stage asks for a GPU */
export function wantsGpus(spec: WorkflowSpec): boolean {
  return spec.stages.some(({ resources }) => (resources?.gpus ?? 0) > 0);
}

/** Measures this machine; looks for GPUs only when a stage asks for one. @throws as readGpus() */
export async function machineRoom(spec: WorkflowSpec, read: typeof readGpus = readGpus): Promise<MachineRoom> {
  const memoryBytes = machineMemoryBytes();
  if (!wantsGpus(spec)) return { memoryBytes, gpus: [] };
  const interpreter = spec.stages.find(({ python }) => python?.interpreter !== undefined)?.python?.interpreter;
  const report = await read(interpreter);
  return { memoryBytes, gpus: report.gpus, whyNone: whyNone(report) };
}

function whyNone({ driver, problem }: GpuInventory): string {
  if (problem !== null) return problem;
  return driver === null ? 'no driver is loaded' : 'CUDA sees none, see CUDA_VISIBLE_DEVICES';
}

export class Reservations {
  private readonly spec: WorkflowSpec;
  private readonly room: MachineRoom;
  private readonly ledger: Ledger;
  private readonly hasGpus: boolean;
  private readonly held = new Map<string, Held>();

  constructor(spec: WorkflowSpec, room: MachineRoom) {
    const { memoryBytes, gpus } = room;
    this.spec = spec;
    this.room = room;
    this.hasGpus = wantsGpus(spec);
    this.ledger = new Ledger([checkNode({ name: 'here', memoryBytes, gpus })]);
  }

  /**
   * Reserves what the plan's new places need: for all of them, or for none.
   *
   * @throws RdmaError RDMA_ERR_NO_DEVICE when GPUs are short, ENOMEM when memory is short; the message has the numbers
   */
  take(plan: Plan): void {
    const taken: string[] = [];
    try {
      for (const id of stagePlaces(plan)) {
        const stage = this.spec.stages[id.stage]!;
        const name = placeName(this.spec, id);
        if (stage.resources === undefined || this.held.has(name)) continue;
        this.reserve(name, stage);
        taken.push(name);
      }
    } catch (error) {
      for (const name of taken) this.release(name);
      throw error;
    }
  }

  private reserve(name: string, { name: stage, resources }: StageSpec): void {
    const { gpus, gpuMemoryBytes, memoryBytes } = resources!;
    const need = needOf({ ...NO_RESOURCES, gpus, gpuMemoryBytes, memoryBytes });
    if (!this.ledger.fits(0, need)) throw this.refusal(name, stage, need);
    const chosen = this.ledger.choose(0, need);
    this.ledger.take(0, need, chosen);
    this.held.set(name, { need, gpus: chosen });
  }

  private refusal(name: string, stage: string, { resources, isWhole }: Need): RdmaError {
    const { gpus, gpuMemoryBytes, memoryBytes } = resources;
    const { ledger, room } = this;
    const free = ledger.freeMemory(0);
    if (free < memoryBytes) {
      const text =
        `${name} needs ${bytesInWords(memoryBytes)} (memoryBytes); ` +
        `${bytesInWords(free)} of ${bytesInWords(room.memoryBytes)} are free for stages`;
      const remedy = 'run fewer instances of its stages, or lower their memoryBytes';
      return new RdmaError('ENOMEM', text, { stage, remedy });
    }
    const wanted = `${name} needs ${gpus} GPU${gpus === 1 ? '' : 's'}`;
    const each = isWhole ? ' for itself' : ` with ${bytesInWords(gpuMemoryBytes)} free (gpuMemoryBytes)`;
    let has = `this machine has none (${room.whyNone ?? 'none was found'})`;
    if (room.gpus.length > 0) {
      const most = Math.max(0, ledger.largestFreeGpu(0));
      has = `${ledger.unusedGpus(0)} of ${room.gpus.length} are unused`;
      if (!isWhole) has += `, and the most that one has free is ${bytesInWords(most)}`;
    }
    const remedy = 'run fewer instances, let light stages share a GPU by gpuMemoryBytes, or see `onepiece doctor`';
    return new RdmaError('RDMA_ERR_NO_DEVICE', `${wanted}${each}; ${has}`, { stage, remedy });
  }

  /** Gives back what places outside this plan hold; their processes have ended. */
  keepOnly(plan: Plan): void {
    const kept = new Set(stagePlaces(plan).map((id) => placeName(this.spec, id)));
    for (const name of [...this.held.keys()]) if (!kept.has(name)) this.release(name);
  }

  private release(name: string): void {
    const { need, gpus } = this.held.get(name)!;
    this.held.delete(name);
    this.ledger.give(0, need, gpus);
  }

  /** CUDA_VISIBLE_DEVICES for the processes of a place; undefined: leave it alone, no stage asks for a GPU. */
  cudaDevices(name: string): string | undefined {
    return this.hasGpus ? visibleDevices(this.held.get(name)?.gpus ?? []) : undefined;
  }
}
