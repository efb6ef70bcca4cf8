// Proves that no event is lost between the last poll and the arming of the channel: with one slot, each message waits
// for the report of the one before, in two processes that both go to sleep at once; one lost event and nothing moves
// any more.
import t from 'tap';
import { Poller } from '../../src/ts/ring/index.js';
import { Collector } from './collector.js';
import { openInbox, start, until } from './support.js';

const MESSAGES = 4000;

for (const way of ['event', 'adaptive', 'poller'] as const) {
  void t.test(`two processes that sleep after each message miss no event: ${way}`, async (t) => {
    const collector = new Collector();
    const wait = way === 'event' ? 'event' : 'adaptive';
    const inbox = await openInbox({
      wait,
      ...(way === 'poller' ? { poller: new Poller({ pollUs: 0 }) } : {}),
      onMessage: (message) => {
        collector.take(message);
        message.done();
      },
    });
    const { port } = inbox.bootstrap;
    const child = start('producer-main', {
      port,
      name: 'one',
      messages: MESSAGES,
      salt: 3,
      slots: 1,
      dataBytes: 1024,
      wait,
      poller: way === 'poller',
    });
    // As long as it goes on it may take its time.
    while (collector.count('one') < MESSAGES) {
      const before = collector.count('one');
      await until('the next one comes', () => collector.count('one') > before);
    }
    t.match(await child.hear('done'), { messages: MESSAGES, resent: 0, connects: 1 });
    t.equal(collector.count('one'), MESSAGES);
    t.strictSame(collector.problems, []);
    t.ok(inbox.status().wakes > MESSAGES / 100, `${inbox.status().wakes} wakes`);
    t.match(await child.exited, { code: 0 });
    await inbox.close();
  });
}
