// What an inbox has opened: its device, the queue in which the completions of its lanes arrive, and its mappings of the
// memory of producers.
//
// Invariant: all of it is closed, in order, also when opening the next part fails. A device that the caller has opened
// stays open.
import type { PortAddress } from '../verbs/index.js';
import { openDriver } from './completion-driver.js';
import type { Limits } from './inbox-options.js';
import { laneParts, type MakeLaneParts, SEND_DEPTH } from './lane-memory.js';
import type { PortDevice, RingPort } from './port.js';
import type { CompletionDriver } from './pump.js';
import { RemoteMemory } from './remote-memory.js';

/** What is done with completions. */
export interface CompletionWork {
  /** Handles completions, with so many looks at the queue; answers how many there were. */
  drain: (looks: number) => number;
  /** The moment to send what was held back. */
  beforeSleep: () => void;
}

export class InboxDevice {
  readonly address: PortAddress;
  readonly pump: CompletionDriver;
  /** Memory of producers that is mapped here. */
  readonly remote: RemoteMemory;
  /** Makes queue pair and memory of a lane. */
  readonly makeLaneParts: MakeLaneParts;
  private readonly device: PortDevice;
  private readonly isOwned: boolean;

  /**
   * @param wanted name of a device, or one that is open
   * @throws what the device throws
   */
  constructor(port: RingPort, wanted: unknown, limits: Limits, { drain, beforeSleep }: CompletionWork) {
    const { clock } = port;
    const { device, owned } = port.device(wanted);
    this.device = device;
    this.isOwned = owned;
    this.remote = new RemoteMemory(device, clock);
    try {
      this.address = device.portAddress();
      const capacity = Math.min(limits.lanes * (limits.slots + SEND_DEPTH), device.attributes.maxCqe);
      const parts = { kind: 'inbox', device, clock, capacity, drain, beforeSleep } as const;
      this.pump = openDriver(parts, limits.wait, limits.poller);
    } catch (error) {
      if (owned) device.close();
      throw error;
    }
    this.makeLaneParts = laneParts(device, this.pump.cq);
  }

  get name(): string {
    return this.device.name;
  }

  /** What a producer has to be on too. */
  get transport(): 'soft' | 'verbs' {
    return this.address.type === 'soft' ? 'soft' : 'verbs';
  }

  close(): void {
    this.remote.close();
    this.pump.close();
    if (this.isOwned) this.device.close();
  }
}
