// The same as chaos.serial.test.ts, with fewer processes and shorter, on any device: on a real one moving a queue pair
// to ERR is asynchronous, and the kernel goes on writing for a process that is stopped.
import t from 'tap';
import { runChaos } from './chaos.js';

const seed = 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000);

void t.test(
  'whoever is killed, stopped, fenced or drained: nothing is lost, torn, repeated or left behind',
  async (t) => {
    const summary = await runChaos({ seed, seconds: 12, producers: 2, messagesBetween: 60 });
    t.comment(JSON.stringify(summary));
    t.ok(summary.acknowledged > 0 && Object.keys(summary.blows).length > 0, JSON.stringify(summary.blows));
  },
);
