// Enumerating a small configuration.
import { EnumeratedChoices } from '../../src/ts/sim/choices.js';
import { play } from './ring-run.js';
import type { SmallCase } from './shape.js';

/** What all runs of a configuration came to. */
export interface Enumeration {
  schedules: number;
  faulty: number;
  /** What repeats the first failures, and what they were. */
  failures: string[];
}

/**
 * Plays every run of a configuration.
 *
 * @param atMost more runs than this are an error: the configuration is not small
 */
export async function enumerate({ name, shape, limits }: SmallCase, atMost: number): Promise<Enumeration> {
  const choices = new EnumeratedChoices(limits);
  const result: Enumeration = { schedules: 0, faulty: 0, failures: [] };
  do {
    if (++result.schedules > atMost) throw new Error(`${name} has more than ${atMost} schedules`);
    const { broken, faults } = await play(choices, shape);
    if (faults.length > 0) result.faulty++;
    if (broken.length > 0) result.failures.push(`npm run sim -- --case ${name} ${choices.replay}: ${broken[0]}`);
  } while (result.failures.length < 5 && choices.next());
  return result;
}
