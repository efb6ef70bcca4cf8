// Enumerating small configurations, and the test of that: a file for each group of them keeps the bound on a file's
// time.
import t from 'tap';
import { EnumeratedChoices } from '../../src/ts/sim/choices.js';
import { countNotTime, sayProgress } from './progress.js';
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
 * @param onPlayed called after each run with their number so far
 */
export async function enumerate(
  { name, shape, limits }: SmallCase,
  atMost: number,
  onPlayed: (count: number) => void = () => {},
): Promise<Enumeration> {
  const choices = new EnumeratedChoices(limits);
  const result: Enumeration = { schedules: 0, faulty: 0, failures: [] };
  do {
    if (++result.schedules > atMost) throw new Error(`${name} has more than ${atMost} schedules`);
    const { broken, faults } = await play(choices, shape);
    onPlayed(result.schedules);
    if (faults.length > 0) result.faulty++;
    if (broken.length > 0) result.failures.push(`npm run sim -- --case ${name} ${choices.replay}: ${broken[0]}`);
  } while (result.failures.length < 5 && choices.next());
  return result;
}

const MOST = 60_000;

/** A test for each configuration: no run breaks the protocol, and there are as many of them as there were. */
export function proveAll(cases: readonly SmallCase[]): void {
  // Errors are made by the thousand here, and looked at only in a failure, which can be repeated.
  Error.stackTraceLimit = 0;
  countNotTime();
  for (const small of cases) {
    void t.test(`every schedule of ${small.name} keeps the protocol`, { timeout: 0 }, async (t) => {
      const { schedules, faulty, failures } = await enumerate(small, MOST, (count) => sayProgress(t, count));
      t.strictSame(failures, []);
      t.ok(schedules >= small.schedules, `${schedules} schedules`);
      if (small.shape.faultCount > 0) t.ok(faulty > 0.9 * schedules, `${faulty} with a fault`);
      t.comment(`${small.name}: ${schedules} schedules, ${faulty} with a fault`);
    });
  }
}
