// Proves: producers are started some at a time, and counts become figures.
import t from 'tap';
import { floodFigures, startProducers } from '../../../src/ts/bench/kit/flood.js';

void t.test('eight at a time, each once', async (t) => {
  let [now, most] = [0, 0];
  const started: number[] = [];
  await startProducers(19, async (index) => {
    started.push(index);
    most = Math.max(most, ++now);
    await new Promise((resolve) => setImmediate(resolve));
    now--;
  });
  t.equal(most, 8);
  t.strictSame(
    started,
    Array.from({ length: 19 }, (_, i) => i),
  );
});

void t.test('figures', async (t) => {
  const held = { ms: 500, messages: 4000, counts: [3000, 1000] };
  t.strictSame(floodFigures(1e6, held, { ms: 1000, messages: 1000, counts: [500, 500] }, true), {
    producers: 2,
    iterations: 4000,
    messagesPerSecond: 8000,
    gigabytesPerSecond: 8,
    touchedGigabytesPerSecond: 1,
    producerMessagesPerSecond: [6000, 2000],
    jainFairness: 0.8,
  });
  const alone = floodFigures(64, held, undefined, false);
  t.match(alone, { touchedGigabytesPerSecond: null, producerMessagesPerSecond: null, jainFairness: null });
});
