// What a process of the tests has open. Invariant: only what is there is counted, nothing is opened for long by looking.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Leftovers {
  descriptors: number;
  /** Of soft devices. */
  mappings: number;
  /** What they are, when they stay. */
  names?: string[];
}

const PATIENCE_MS = 5000;

/** What is open now; with `before`, how much more that is than it was. */
export function leftBehind(before: Leftovers = { descriptors: 0, mappings: 0 }): Leftovers {
  const mappings = readFileSync('/proc/self/maps', 'latin1').split('onepiece-').length - 1;
  const descriptors = readdirSync('/proc/self/fd').length;
  return { descriptors: descriptors - before.descriptors, mappings: mappings - before.mappings };
}

function nameOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return 'gone meanwhile';
  }
}

/** As leftBehind(), when all that ends by itself has ended: a socket is closed when its peer has closed it too. */
export async function leftInTheEnd(before: Leftovers): Promise<Leftovers> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const left = leftBehind(before);
    if (left.descriptors <= 0 && left.mappings <= 0) return left;
    if (performance.now() > deadline) return { ...left, names: readdirSync('/proc/self/fd').map(nameOf) };
    await sleep(10);
  }
}
