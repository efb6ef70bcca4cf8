// Opens devices with everything below them, forgets them, and waits for the collector to close them.
// Run with --expose-gc.
import { readdirSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { connectSides, openSide, patienceMs } from './support.js';

const descriptors = () => readdirSync('/proc/self/fd').length;

function drop(): void {
  for (let i = 0; i < 5; i++) {
    const a = openSide();
    const b = openSide();
    connectSides(a, b);
  }
}

async function main(): Promise<void> {
  if (process.connected) process.disconnect();
  openSide().device.close();
  await turn();
  const before = descriptors();
  drop();
  const deadline = performance.now() + 2 * patienceMs;
  while (descriptors() > before) {
    globalThis.gc?.();
    await turn();
    if (performance.now() > deadline) throw new Error(`${descriptors()} descriptors are open, ${before} were`);
  }
}

void main();
