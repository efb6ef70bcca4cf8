// Proves: no schedule breaks what docs/pipeline-simulation.md says, within its bounds: a request that is cancelled at
// any step, before, while or after plans change, a place is given up, or a process is replaced. And that this finds a
// cancel which leaves something behind.
import t from 'tap';
import { Gateway } from '../../src/ts/pipeline/index.js';
import { PIPELINE_CASES } from './pipeline-cases.js';
import { findPlanted, provePipelines } from './pipeline-enumerate.js';
import { plant } from './plant.js';

provePipelines(PIPELINE_CASES.cancel);

void t.test('found: a cancel that leaves its request in the books of its places', { timeout: 0 }, async (t) => {
  const removeDefect = plant(
    Gateway.prototype,
    'cancel',
    (original) =>
      function (this: { leave?: () => void }, ...given: never[]) {
        this.leave = () => {};
        try {
          return original.apply(this as never, given);
        } finally {
          delete this.leave;
        }
      },
  );
  try {
    t.match(await findPlanted(t, PIPELINE_CASES.cancel[0]!), /^deadlock: gateway\/0 counts 1 and 1/);
  } finally {
    removeDefect();
  }
});
