// Proves when polling goes on for long and when it does not: by tables of what was found.
import t from 'tap';
import { AdaptiveWindow } from '../../src/ts/ring/adaptive-window.js';

void t.test('it begins at the limit, shrinks to a few microseconds, and a hit opens it at once', async (t) => {
  const window = new AdaptiveWindow(50);
  t.equal(window.us, 50);
  for (let i = 0; i < 10; i++) window.miss();
  t.equal(window.us, 4);
  window.hit();
  t.equal(window.us, 50);
});

void t.test('a wake that came within reach opens it, a late one does not', async (t) => {
  const window = new AdaptiveWindow(50);
  for (let i = 0; i < 10; i++) window.miss();
  window.woken(1000);
  t.equal(window.us, 4);
  window.woken(60);
  window.woken(60);
  t.equal(window.us, 50);
});

void t.test('events that always come a little too late do not make it poll for ever', async (t) => {
  const window = new AdaptiveWindow(50);
  let polledUs = 0;
  for (let i = 0; i < 1000; i++) {
    polledUs += window.us;
    window.miss();
    window.woken(70);
  }
  t.ok(polledUs < 1000 * 10, `${polledUs} us in 1000 waits`);
  window.hit();
  t.equal(window.us, 50);
});

void t.test('a limit below a few microseconds is kept, and 0 means never', async (t) => {
  for (const limitUs of [0, 1, 3]) {
    const window = new AdaptiveWindow(limitUs);
    window.hit();
    t.equal(window.us, limitUs);
    window.miss();
    t.ok(window.us <= limitUs);
    window.woken(1);
    t.ok(window.us <= limitUs);
  }
});
