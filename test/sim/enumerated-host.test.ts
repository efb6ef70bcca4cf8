// Proves: the rings keep every property in all runs of small configurations with a fault where the process copies itself, within the
// bounds of docs/ring-simulation.md.
import t from 'tap';
import { HOST_CASES } from './cases.js';
import { enumerate } from './enumerate.js';

const MOST = 60_000;
// Errors are made by the thousand here, and looked at only in a failure, which can be repeated.
Error.stackTraceLimit = 0;

for (const small of HOST_CASES) {
  void t.test(`every schedule of ${small.name} keeps the protocol`, { timeout: 0 }, async (t) => {
    const { schedules, faulty, failures } = await enumerate(small, MOST);
    t.strictSame(failures, []);
    t.ok(schedules >= small.schedules, `${schedules} schedules`);
    if (small.shape.faultCount > 0) t.ok(faulty > 0.9 * schedules, `${faulty} with a fault`);
    t.comment(`${small.name}: ${schedules} schedules, ${faulty} with a fault`);
  });
}
