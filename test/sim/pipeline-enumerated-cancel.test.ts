// Proves: enumerating what happens around a cancelled request finds a cancel that leaves something behind. The proof
// itself is pipeline-enumerated-cancel.wide.test.ts.
import t from 'tap';
import { RequestKeeper } from '../../src/ts/pipeline/request-keeper.js';
import { PIPELINE_CASES } from './pipeline-cases.js';
import { findPlanted } from './pipeline-enumerate.js';
import { plant } from './plant.js';

void t.test('found: a cancel that leaves its request in the books of its places', { timeout: 0 }, async (t) => {
  const removeDefect = plant(
    RequestKeeper.prototype,
    'cancel',
    (original) =>
      function (this: { leave?: RequestKeeper['leave'] }, ...given: never[]) {
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
