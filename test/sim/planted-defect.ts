// How a simulation shows that it finds what it should: a defect is planted, and runs by seed until one fails. Not a
// test.
import type { Test } from 'tap';

/** A run of one seed. */
export type Play = (seed: number) => Promise<{ readonly broken: readonly string[] }>;

/**
 * Proves that a defect is found within some seeds, that its seed shows it again, and that without it nothing is seen.
 *
 * @param within how many seeds
 * @param plant plants it, and answers what takes it back; undefined: the shape of a run has it
 * @param seen what the failure says
 * @param play plays with the defect, once it is planted
 * @param playWithout plays without it, once it was taken back; default: as `play`
 */
export async function checkFound(
  t: Test,
  within: number,
  plant: (() => () => void) | undefined,
  seen: RegExp,
  play: Play,
  playWithout: Play = play,
): Promise<void> {
  const removeDefect = plant?.() ?? (() => {});
  try {
    let found: { seed: number; broken: readonly string[] } | undefined;
    for (let seed = 1; seed <= within && found === undefined; seed++) {
      const { broken } = await play(seed);
      if (broken.length > 0) found = { seed, broken };
    }
    t.ok(found, `within ${within} seeds`);
    if (found === undefined) return;
    const { seed, broken } = found;
    t.match(broken[0], seen);
    t.comment(`seed ${seed}: ${broken[0]}`);
    t.strictSame((await play(seed)).broken, broken, `seed ${seed} shows it again`);
    removeDefect();
    t.strictSame((await playWithout(seed)).broken, [], 'and nothing without it');
  } finally {
    removeDefect();
  }
}
