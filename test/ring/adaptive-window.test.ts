// Proves when polling goes on for long and when it does not: by tables of what was found.
import t from 'tap';
import { AdaptiveWindow } from '../../src/ts/ring/adaptive-window.js';

void t.test('it begins at the limit, shrinks to a few microseconds, and a hit opens it at once', async (t) => {
  const window = new AdaptiveWindow(50);
  t.equal(window.us, 50);
  for (let i = 0; i < 10; i++) window.miss();
  t.equal(window.us, 4);
  window.hit(0);
  t.equal(window.us, 50);
});

void t.test('a wake that came within reach opens it, a late one does not', async (t) => {
  const window = new AdaptiveWindow(50);
  for (let i = 0; i < 10; i++) window.miss();
  window.woken(0, 1000);
  t.equal(window.us, 4);
  window.woken(0, 60);
  window.woken(0, 60);
  t.equal(window.us, 50);
});

void t.test('events that always come a little too late do not make it poll for ever', async (t) => {
  const window = new AdaptiveWindow(50);
  let polledUs = 0;
  for (let i = 0; i < 1000; i++) {
    polledUs += window.us;
    window.miss();
    window.woken(0, 70);
  }
  t.ok(polledUs < 1000 * 10, `${polledUs} us in 1000 waits`);
  window.hit(0);
  t.equal(window.us, 50);
});

void t.test('a limit below a few microseconds is kept, and 0 means never', async (t) => {
  for (const limitUs of [0, 1, 3]) {
    const window = new AdaptiveWindow(limitUs);
    window.hit(0);
    t.equal(window.us, limitUs);
    window.miss();
    t.ok(window.us <= limitUs);
    window.woken(0, 1);
    t.ok(window.us <= limitUs);
  }
});

void t.test('who shares the processor with somebody who computes sleeps instead, for longer each time', async (t) => {
  const window = new AdaptiveWindow(50);
  window.gaveWay(100, 0.9);
  t.notOk(window.isCrowded(100), 'others who poll give it back soon');
  window.gaveWay(100, 2);
  t.ok(window.isCrowded(119.9));
  t.equal(window.us, 4);
  window.hit(110);
  window.woken(110, 10);
  t.equal(window.us, 4, 'whatever is found meanwhile');
  t.notOk(window.isCrowded(120));
  window.hit(121);
  t.equal(window.us, 50);
  window.gaveWay(122, 2);
  t.ok(window.isCrowded(161.9));
  t.notOk(window.isCrowded(162));
  for (let i = 0; i < 10; i++) window.gaveWay(200, 2);
  t.ok(window.isCrowded(839));
  t.notOk(window.isCrowded(840));
  window.hit(1500);
  window.gaveWay(1600, 2);
  t.notOk(window.isCrowded(1620), 'after a good time it begins with the shortest');
});
