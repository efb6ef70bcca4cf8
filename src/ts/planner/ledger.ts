// What is free on each node, as instances come and go.
//
// Invariant: what was taken and what is free add up to what the node has, for every amount and every GPU; nothing is
// ever below zero. A GPU that one instance has for itself has no other; cores are counted in thousandths, so that
// taking and giving back leaves no rounding.
import type { StageResources } from '../pipeline/resources.js';
import type { NodeInfo } from './nodes.js';

const CORE_PARTS = 1000;

/** Needs of a stage, as the ledger counts them. */
export interface Need {
  readonly resources: StageResources;
  readonly coreParts: number;
  /** It has its GPUs for itself. */
  readonly isWhole: boolean;
}

/** Counts what a stage needs. */
export function needOf(resources: StageResources): Need {
  return {
    resources,
    coreParts: Math.ceil(resources.cores * CORE_PARTS),
    isWhole: resources.gpus > 0 && resources.gpuMemoryBytes === 0,
  };
}

/** The most that any node has free of one amount. */
export interface MostFree {
  /** -1: there is no node. */
  readonly node: number;
  readonly amount: number;
}

export class Ledger {
  readonly nodes: readonly NodeInfo[];
  private readonly coreParts: Float64Array;
  private readonly memory: Float64Array;
  private readonly firstGpu: Int32Array; // of each node, in the lists of all GPUs; one more at the end
  private readonly gpuMemory: Float64Array;
  private readonly gpuFree: Float64Array;
  private readonly gpuUsers: Int32Array; // instances that share it; -1: one has it for itself
  // What makes the usual question quick.
  private readonly unused: Int32Array; // GPUs that nobody uses, by node
  private readonly largest: Float64Array; // free memory of the GPU that has most, by node

  /** @param nodes whose numbers are their places in this list; empty at first */
  constructor(nodes: readonly NodeInfo[]) {
    this.nodes = nodes;
    this.coreParts = Float64Array.from(nodes, (node) => Math.floor(node.cores * CORE_PARTS));
    this.memory = Float64Array.from(nodes, (node) => node.memoryBytes);
    this.firstGpu = new Int32Array(nodes.length + 1);
    for (let i = 0; i < nodes.length; i++) this.firstGpu[i + 1] = this.firstGpu[i]! + nodes[i]!.gpus.length;
    this.gpuMemory = Float64Array.from(nodes.flatMap((node) => node.gpus.map((gpu) => gpu.memoryBytes)));
    this.gpuFree = this.gpuMemory.slice();
    this.gpuUsers = new Int32Array(this.gpuMemory.length);
    this.unused = new Int32Array(nodes.length);
    this.largest = new Float64Array(nodes.length);
    for (let i = 0; i < nodes.length; i++) this.sumUp(i);
  }

  private sumUp(node: number): void {
    let [unused, largest] = [0, -1];
    for (let gpu = this.firstGpu[node]!; gpu < this.firstGpu[node + 1]!; gpu++) {
      if (this.gpuUsers[gpu] === 0) unused++;
      if (this.gpuUsers[gpu]! >= 0 && this.gpuFree[gpu]! > largest) largest = this.gpuFree[gpu]!;
    }
    this.unused[node] = unused;
    this.largest[node] = largest;
  }

  /** Whether an instance fits on a node besides what is there; labels and draining are the caller's matter. */
  fits(node: number, need: Need): boolean {
    const { gpus, gpuMemoryBytes, memoryBytes } = need.resources;
    if (this.coreParts[node]! < need.coreParts || this.memory[node]! < memoryBytes) return false;
    if (gpus === 0) return true;
    if (need.isWhole) return this.unused[node]! >= gpus;
    if (this.largest[node]! < gpuMemoryBytes) return false;
    if (gpus === 1) return true;
    let found = 0;
    for (let gpu = this.firstGpu[node]!; gpu < this.firstGpu[node + 1]!; gpu++) {
      if (this.gpuUsers[gpu]! >= 0 && this.gpuFree[gpu]! >= gpuMemoryBytes) found++;
    }
    return found >= gpus;
  }

  /**
   * Chooses the GPUs of an instance that fits: those that it leaves least of, so that large rests stay whole.
   *
   * @returns numbers of GPUs of the node, ascending
   */
  choose(node: number, need: Need): readonly number[] {
    const { gpus, gpuMemoryBytes } = need.resources;
    if (gpus === 0) return NONE;
    const first = this.firstGpu[node]!;
    const able: number[] = [];
    for (let gpu = first; gpu < this.firstGpu[node + 1]!; gpu++) if (this.isAble(gpu, need)) able.push(gpu);
    if (gpuMemoryBytes > 0 || this.gpuFree[able[0]!] !== this.gpuFree[able.at(-1)!]) {
      able.sort((a, b) => this.gpuFree[a]! - this.gpuFree[b]! || a - b);
    }
    able.length = gpus;
    return able.map((gpu) => gpu - first).sort((a, b) => a - b);
  }

  private isAble(gpu: number, need: Need): boolean {
    if (need.isWhole) return this.gpuUsers[gpu] === 0;
    return this.gpuUsers[gpu]! >= 0 && this.gpuFree[gpu]! >= need.resources.gpuMemoryBytes;
  }

  /** Whether an instance fits on just these GPUs of a node. */
  fitsOn(node: number, need: Need, gpus: readonly number[]): boolean {
    if (this.coreParts[node]! < need.coreParts || this.memory[node]! < need.resources.memoryBytes) return false;
    if (gpus.length !== need.resources.gpus || new Set(gpus).size !== gpus.length) return false;
    const first = this.firstGpu[node]!;
    const count = this.firstGpu[node + 1]! - first;
    return gpus.every((gpu) => Number.isInteger(gpu) && gpu >= 0 && gpu < count && this.isAble(first + gpu, need));
  }

  /** Takes what an instance needs; it fits. */
  take(node: number, need: Need, gpus: readonly number[]): void {
    this.book(node, need, gpus, 1);
  }

  /** Gives back what {@link take} took. */
  give(node: number, need: Need, gpus: readonly number[]): void {
    this.book(node, need, gpus, -1);
  }

  private book(node: number, need: Need, gpus: readonly number[], sign: 1 | -1): void {
    const { gpuMemoryBytes, memoryBytes } = need.resources;
    this.coreParts[node]! -= sign * need.coreParts;
    this.memory[node]! -= sign * memoryBytes;
    if (gpus.length === 0) return;
    for (const number of gpus) {
      const gpu = this.firstGpu[node]! + number;
      if (need.isWhole) this.gpuUsers[gpu] = sign === 1 ? -1 : 0;
      else this.gpuUsers[gpu]! += sign;
      this.gpuFree[gpu]! -= sign * gpuMemoryBytes;
    }
    this.sumUp(node);
  }

  /** How much of a node is in use, 0 to 1: of the amount of which it has least left. */
  usedShare(node: number): number {
    const { cores, memoryBytes, gpus } = this.nodes[node]!;
    let free = 1;
    if (cores > 0) free = Math.min(free, this.coreParts[node]! / (cores * CORE_PARTS));
    if (memoryBytes > 0) free = Math.min(free, this.memory[node]! / memoryBytes);
    if (gpus.length > 0) free = Math.min(free, this.unused[node]! / gpus.length);
    return 1 - free;
  }

  /** GPUs of a node that nobody uses. */
  unusedGpus(node: number): number {
    return this.unused[node]!;
  }

  /** Cores of a node that are free. */
  freeCores(node: number): number {
    return this.coreParts[node]! / CORE_PARTS;
  }

  /** Memory of a node that is free, in bytes. */
  freeMemory(node: number): number {
    return this.memory[node]!;
  }

  /** Free memory of the GPU of a node that has most, in bytes; -1: it has no GPU that may be shared. */
  largestFreeGpu(node: number): number {
    return this.largest[node]!;
  }
}

const NONE: readonly number[] = Object.freeze([]);
