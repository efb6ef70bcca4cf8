// What the instances of a pipeline on this host have of its GPUs and its memory.
//
// Invariant: an instance holds what its stage needs from before its process starts until after it has ended, and every
// process of its place gets the same GPUs. Two instances share a GPU only when both said how much of its memory they
// need. Cores and labels concern nodes only and do not count here.
import { RdmaError } from '../core/errors.js';
import { bytesInWords } from '../core/memory-room.js';
import { type Plan, placeName, type StageSpec, stagePlaces, type WorkflowSpec } from '../pipeline/index.js';
import { NO_RESOURCES } from '../pipeline/resources.js';
import { checkNode } from '../planner/index.js';
import { Ledger, type Need, needOf } from '../planner/ledger.js';
import { type GpuReport, readGpus, visibleDevices } from './gpus.js';
import { machineMemoryBytes } from './machine-memory.js';

/** What there is. */
export interface MachineRoom {
  readonly memoryBytes: number;
  /** By the numbers of CUDA, seen from this process. */
  readonly gpus: readonly { readonly memoryBytes: number }[];
  /** Why there are no GPUs, in words. */
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

/** This machine; its GPUs are looked for only when a stage asks for one. @throws as readGpus() */
export async function machineRoom(spec: WorkflowSpec, read: typeof readGpus = readGpus): Promise<MachineRoom> {
  const memoryBytes = machineMemoryBytes();
  if (!wantsGpus(spec)) return { memoryBytes, gpus: [] };
  const interpreter = spec.stages.find(({ python }) => python?.interpreter !== undefined)?.python?.interpreter;
  const report = await read(interpreter);
  return { memoryBytes, gpus: report.gpus, whyNone: whyNone(report) };
}

function whyNone({ driver, problem }: GpuReport): string {
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
   * Reserves what the places of a plan need that have nothing yet: all of them, or nothing.
   *
   * @throws RdmaError RDMA_ERR_NO_DEVICE when there are not the GPUs, ENOMEM when there is not the memory, with numbers
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
      const words = `${name} needs ${bytesInWords(memoryBytes)} (memoryBytes); ${bytesInWords(free)} of ${bytesInWords(room.memoryBytes)} are free for stages`;
      return new RdmaError('ENOMEM', words, {
        stage,
        remedy: 'lower the instances of its stages, or their memoryBytes',
      });
    }
    const wanted = `${name} needs ${gpus} GPU${gpus === 1 ? '' : 's'}`;
    const each = isWhole ? ' for itself' : ` with ${bytesInWords(gpuMemoryBytes)} free (gpuMemoryBytes)`;
    let has = `this machine has none (${room.whyNone ?? 'none was found'})`;
    if (room.gpus.length > 0) {
      const most = Math.max(0, ledger.largestFreeGpu(0));
      has = `${ledger.unusedGpus(0)} of ${room.gpus.length} are unused`;
      if (!isWhole) has += `, and the most that one has free is ${bytesInWords(most)}`;
    }
    return new RdmaError('RDMA_ERR_NO_DEVICE', `${wanted}${each}; ${has}`, {
      stage,
      remedy:
        'lower the instances of its stages, let light ones share a GPU by gpuMemoryBytes, or see `onepiece doctor`',
    });
  }

  /** Gives back what all places have but those of this plan; they have ended. */
  keepOnly(plan: Plan): void {
    const kept = new Set(stagePlaces(plan).map((id) => placeName(this.spec, id)));
    for (const name of [...this.held.keys()]) if (!kept.has(name)) this.release(name);
  }

  private release(name: string): void {
    const { need, gpus } = this.held.get(name)!;
    this.held.delete(name);
    this.ledger.give(0, need, gpus);
  }

  /** CUDA_VISIBLE_DEVICES for the process of a place; undefined: as this process has it, as no stage asks for a GPU. */
  cudaDevices(name: string): string | undefined {
    return this.hasGpus ? visibleDevices(this.held.get(name)?.gpus ?? []) : undefined;
  }
}
