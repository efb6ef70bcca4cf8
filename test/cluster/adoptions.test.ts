// Proves that a plan which is retired while it is being adopted is let go of, and that nothing is kept of plans.
import t from 'tap';
import { Adoptions } from '../../src/ts/cluster/adoptions.js';

void t.test(
  'a plan that is retired meanwhile is retired behind its adoption, and any number leaves nothing',
  async (t) => {
    const adoptions = new Adoptions();
    const retired: number[] = [];
    const open = new Map<number, () => void>();
    const adopt = (number: number) =>
      adoptions.adopt(number, async () => {
        await new Promise<void>((resolve) => open.set(number, resolve));
        return async () => void retired.push(number);
      });
    for (let number = 1; number <= 100; number++) {
      const adopting = adopt(number);
      adoptions.retired(number - 1); // it has been adopted: nothing is to be remembered
      if (number % 2 === 0) adoptions.retired(number);
      t.equal(adoptions.size, 1);
      open.get(number)!();
      await adopting;
    }
    t.same(
      retired,
      Array.from({ length: 50 }, (_, i) => 2 * i + 2),
    );
    t.equal(adoptions.size, 0);

    const failing = adoptions.adopt(7, () => Promise.reject(new Error('its places are not found')));
    await t.rejects(failing, /not found/);
    t.equal(adoptions.size, 0);

    const both = [adopt(8), adopt(8)];
    open.get(8)!();
    adoptions.retired(8);
    await both[1];
    t.equal(adoptions.size, 1);
  },
);
