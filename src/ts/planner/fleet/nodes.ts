// Machines: which worker is where, which machine is slow, which dies.
//
// Invariant: a node holds no more GPUs than it has. Workers of more GPUs than a node has hold nodes of their own.
import { type FaultRates, NODE_GPUS } from './fleet.js';
import type { Worker } from './worker.js';

export interface SimNode {
  readonly index: number;
  readonly factor: number;
  readonly workers: Set<Worker>;
  free: number;
}

export class Nodes {
  readonly list: SimNode[] = [];
  private readonly draw: () => number;
  private readonly faults: FaultRates;

  constructor(draw: () => number, faults: FaultRates) {
    this.draw = draw;
    this.faults = faults;
  }

  /** The first node with room. */
  take(gpus: number): SimNode {
    const needed = Math.min(gpus, NODE_GPUS);
    let node = this.list.find(({ free }) => free >= needed);
    if (node === undefined) {
      const factor = this.faults.slowNodes > 0 && this.draw() < this.faults.slowNodes ? this.faults.slowFactor : 1;
      node = { index: this.list.length, factor, workers: new Set(), free: NODE_GPUS };
      this.list.push(node);
    }
    node.free -= needed;
    return node;
  }

  give(node: SimNode, gpus: number): void {
    node.free += Math.min(gpus, NODE_GPUS);
  }
}
