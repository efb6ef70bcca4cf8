// Errors that no code under test has caught: they are those of the world that runs.
import type { SimWorld } from '../../src/ts/sim/world.js';

let current: SimWorld | undefined;
process.on('unhandledRejection', (reason) => {
  if (current === undefined) throw reason;
  current.caught(reason);
});

/** Runs a world; what nobody catches meanwhile is counted against it. */
export async function catching(world: SimWorld, run: () => Promise<void>): Promise<void> {
  current = world;
  try {
    await run();
  } finally {
    current = undefined;
  }
}
