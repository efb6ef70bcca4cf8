// Outputs of a Python process that stay on its GPU: who may get one, and which of them are not acknowledged.
//
// Invariant: a block of the GPU is given back once, when every receiver has acknowledged what lies in it or it does not
// go out. What this process cannot hold for Python, the bytes, its inputs stand for: they are not acknowledged before.
import type { Held } from '../../pipeline/custody.js';
import type { GpuAddress, PlaceAddress } from '../../pipeline/place-address.js';
import type { GpuOutputStatus } from '../../pipeline/python-status.js';
import type { GpuPeers } from './records.js';

/** What is known of other places. */
export interface GpuWorld {
  /** As Location.memory: handles of GPU memory are opened in the same one only. */
  readonly memory: string;
  /** Where a place is; undefined while it is being replaced. */
  addressOf(place: string): PlaceAddress | undefined;
  /** What other places shall know of the GPU of this one. */
  announce(gpu: GpuAddress): void;
}

export class GpuOutputs {
  /** How many blocks of the process are not given back. */
  held = 0;
  private readonly world: GpuWorld;
  private readonly hasGpus: boolean;
  private free: ((block: number) => void) | undefined; // of the process that runs
  private isOffered = false;
  private shared = 0;
  private throughHost = 0;
  private why: string | undefined;

  /** @param hasGpus the stage has GPUs in its resources */
  constructor(world: GpuWorld, hasGpus: boolean) {
    this.world = world;
    this.hasGpus = hasGpus;
  }

  /**
   * A process is ready.
   *
   * @param offer what it offers: a probe, or why it has none
   * @param free gives a block of it back
   */
  begin({ probe, why }: { probe?: string; why?: string }, free: (block: number) => void): void {
    this.free = free;
    this.isOffered = typeof probe === 'string';
    this.why = this.isOffered ? undefined : String(why).slice(0, 512);
    const { memory } = this.world;
    if (this.isOffered) this.world.announce({ memory, probe });
    else if (this.hasGpus) this.world.announce({ memory, why: this.why });
  }

  /** The process has ended, and its blocks with it. @returns how many somebody needs still */
  end(): number {
    const { held } = this;
    this.free = undefined;
    this.held = 0;
    return held;
  }

  /** Whether all who take the output of a task may get a handle; undefined: the process offers none. */
  peersOf(task: { readonly receivers: readonly string[] }): GpuPeers | undefined {
    if (!this.isOffered) return undefined;
    const peers: [string, string][] = [];
    for (const place of task.receivers) {
      const address = this.world.addressOf(place);
      if (address === undefined) return `${place} takes no memory of a GPU, or is being replaced`;
      const { gpu } = address;
      if (gpu === undefined) return `${place} opens no memory of a GPU`;
      if (gpu.memory !== this.world.memory) return `${place} is on another host, or in another container`;
      if (gpu.probe === undefined) return `${place} opens no memory of a GPU: ${gpu.why ?? 'it does not say why'}`;
      peers.push([place, gpu.probe]);
    }
    return peers;
  }

  /** A block that goes out; it is given back with its last reference. */
  hold(block: number): Held {
    const { free } = this;
    let references = 1;
    this.held++;
    return {
      retain: () => {
        references++;
      },
      release: () => {
        if (--references > 0 || free === undefined || free !== this.free) return;
        this.held--;
        free(block);
      },
    };
  }

  /** The process says how outputs went. */
  count([shared, throughHost, why]: readonly [number, number, string | null]): void {
    if (Number.isSafeInteger(shared) && shared > 0) this.shared += shared;
    if (Number.isSafeInteger(throughHost) && throughHost > 0) this.throughHost += throughHost;
    if (typeof why === 'string') this.why = why.slice(0, 512);
  }

  status(): GpuOutputStatus {
    const { isOffered, shared, throughHost, why, held } = this;
    return { isOffered, shared, throughHost, why, held };
  }
}
