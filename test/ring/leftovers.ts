// What a process of the tests has open. Invariant: it counts only what was open before, and leaves nothing open itself.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Leftovers {
  descriptors: number;
  /** Of soft devices. */
  mappings: number;
  /** What the descriptors are. */
  names: string[];
}

const PATIENCE_MS = 5000;
/** Opened with the first child process, for the `ignore` of its stdio. */
const NODE_KEEPS = /\/dev\/null$/;

/** What is open now. */
export function openNow(): Leftovers {
  const mappings = readFileSync('/proc/self/maps', 'latin1').split('onepiece-').length - 1;
  const found = readdirSync('/proc/self/fd').map(nameOf);
  const names = found.filter((name) => name !== '' && !NODE_KEEPS.test(name));
  return { descriptors: names.length, mappings, names };
}

function nameOf(descriptor: string): string {
  try {
    return `${descriptor}: ${readlinkSync(`/proc/self/fd/${descriptor}`)}`;
  } catch {
    return ''; // of the look itself
  }
}

/**
 * What is open and was not before, when all that ends by itself has ended: a socket is closed when its peer has closed
 * it.
 */
export async function leftBehind(before: Leftovers): Promise<Leftovers> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const now = openNow();
    const left = {
      descriptors: now.descriptors - before.descriptors,
      mappings: now.mappings - before.mappings,
      names: now.names.filter((name) => !before.names.includes(name)),
    };
    const isClean = left.descriptors <= 0 && left.mappings <= 0;
    if (isClean || performance.now() > deadline) return left;
    await sleep(10);
  }
}
