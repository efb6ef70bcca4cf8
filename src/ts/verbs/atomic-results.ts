// Where the old values of atomics land: slots of 8 bytes in memory of the library.
//
// Invariant: a slot belongs to one operation until the device has done with it. A page of slots is registered when the
// first atomic needs it, and another one when all are in use.
import { AccessFlags } from '../addon/constants.js';
import type { MemoryRegion } from './memory-region.js';
import type { ProtectionDomain } from './protection-domain.js';

const PAGE_SLOTS = 512;

/** @internal One slot. */
export class AtomicResult {
  constructor(
    private readonly values: BigUint64Array,
    private readonly index: number,
    readonly address: number,
    readonly lkey: number,
  ) {}

  get value(): bigint {
    return this.values[this.index] ?? 0n;
  }
}

/** @internal */
export class AtomicResults {
  private readonly pages: MemoryRegion[] = [];
  private readonly free: AtomicResult[] = [];

  constructor(private readonly pd: ProtectionDomain) {}

  /** @throws as ProtectionDomain.registerMemory */
  take(): AtomicResult {
    if (this.free.length === 0) this.addPage();
    return this.free.pop()!;
  }

  give(slot: AtomicResult): void {
    this.free.push(slot);
  }

  close(): void {
    this.free.length = 0;
    for (const page of this.pages.splice(0)) page.close();
  }

  private addPage(): void {
    const page = this.pd.registerMemory({ bytes: PAGE_SLOTS * 8, access: AccessFlags.LOCAL_WRITE });
    this.pages.push(page);
    const values = new BigUint64Array(page.buffer);
    for (let i = 0; i < PAGE_SLOTS; i++) {
      this.free.push(new AtomicResult(values, i, page.address + i * 8, page.lkey));
    }
  }
}
