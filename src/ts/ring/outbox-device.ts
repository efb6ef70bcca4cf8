// What an outbox has opened: its device, the queue in which its completions arrive, and its registered memory.
//
// Invariant: all of it is closed, in order, also when opening the next part fails. A device or a protection domain that
// somebody else has opened stays open.
import type { PortAddress } from '../verbs/index.js';
import { openDriver } from './completion-driver.js';
import { CONTROL_RECEIVES } from './connection.js';
import type { OutboxSettings } from './outbox-options.js';
import type { PortDevice, PortDomain, PortMemory, RingPort } from './port.js';
import { PullMemory } from './pull-memory.js';
import type { CompletionDriver } from './pump.js';
import { RetainedMessages } from './retained-messages.js';

export class OutboxDevice {
  readonly address: PortAddress;
  readonly pump: CompletionDriver;
  /** Of what is mapped, and of all the rest where there is no pool. */
  readonly mappings: PortDomain;
  readonly pd: PortDomain;
  readonly retained: RetainedMessages;
  readonly pullMemory: PullMemory;
  /** Work requests that a connection may have posted. */
  readonly sendDepth: number;
  private readonly device: PortDevice;
  private readonly isOwned: boolean;

  /**
   * @param wanted name of a device, or one that is open
   * @param drain handles completions, with so many looks at the queue; answers how many there were
   * @throws what the device throws
   */
  constructor(port: RingPort, wanted: unknown, settings: OutboxSettings, drain: (looks: number) => number) {
    const { pool, retainBytes, retainMessages, pullBytes, slots, wait, poller } = settings;
    const { clock } = port;
    const { device, owned } = pool?.lend(wanted) ?? port.device(wanted);
    this.device = device;
    this.isOwned = owned;
    let mappings: PortDomain | undefined;
    let memory: PortMemory | undefined;
    try {
      this.address = device.portAddress();
      mappings = device.allocateProtectionDomain();
      this.mappings = mappings;
      this.pd = pool?.domain ?? mappings;
      memory = this.pd.registerMemory({ bytes: retainBytes });
      this.retained = new RetainedMessages(memory, retainBytes, retainMessages);
      this.pullMemory = new PullMemory(this.pd, pullBytes);
      const { maxQpWr, maxCqe } = device.attributes;
      this.sendDepth = Math.min(2 * slots + 16, maxQpWr);
      const capacity = Math.min(this.sendDepth + CONTROL_RECEIVES, maxCqe);
      const parts = { kind: 'outbox', device, clock, capacity, drain, beforeSleep: () => {} } as const;
      this.pump = openDriver(parts, wait, poller);
    } catch (error) {
      memory?.close();
      mappings?.close();
      if (owned) device.close();
      throw error;
    }
  }

  get name(): string {
    return this.device.name;
  }

  close(): void {
    this.pump.close();
    this.retained.memory.close();
    this.pullMemory.close();
    this.mappings.close();
    if (this.isOwned) this.device.close();
  }
}
