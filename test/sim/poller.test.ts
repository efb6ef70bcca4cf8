// Proves that a poller of several members loses no event, whatever the order: two simulated processes, each with an
// inbox and an outbox that share a poller and a device, send messages round; nothing else would ever wake them.
import t from 'tap';
import { Inbox, Outbox, Poller } from '../../src/ts/ring/index.js';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { simPort } from '../../src/ts/sim/port.js';
import { type DeviceFlaw, SimWorld } from '../../src/ts/sim/world.js';
import { SECRET } from './producer.js';

const ROUNDS = 12;
const LIMIT_MS = 10_000;

/** Answers whether all rounds were made in time. */
async function play(seed: number, pollUs: number, flaw?: DeviceFlaw): Promise<boolean> {
  const choices = new SeededChoices(seed, 7);
  const copier = choices.chance(0.5) ? 'process' : 'device';
  const options = { copier, tearShare: 0.1, weakOrder: false, pollBatch: 16, oneWriter: true } as const;
  const world = new SimWorld(choices, flaw === undefined ? options : { ...options, flaw });
  let rounds = 0;
  const side = (name: string) => {
    const process = world.process(name);
    const poller = new Poller({ pollUs, clock: process.clock });
    const device = world.openDevice(process) as never;
    return { port: simPort(world, process), options: { secret: SECRET, poller, device, name } };
  };
  const [a, b] = [side('a'), side('b')];
  const slots = choices.pick(2) + 1;
  const sizes = { slots, dataBytes: 256, retainMessages: 2 };
  let there: Outbox | undefined;
  let back: Outbox | undefined;
  let done = false;
  const run = async () => {
    const end = await Inbox.listenOn(a.port, {
      ...a.options,
      onMessage: (message) => {
        rounds++;
        message.done();
        if (rounds < ROUNDS) void there!.send(new Uint8Array(rounds));
        else done = true;
      },
    });
    const middle = await Inbox.listenOn(b.port, {
      ...b.options,
      // What is sent on comes by promises, after the look that has found the message.
      onMessage: async (message) => {
        await back!.send(message.bytes);
        message.done();
      },
    });
    there = await Outbox.connectOn(a.port, { ...a.options, ...sizes, to: middle.bootstrap });
    back = await Outbox.connectOn(b.port, { ...b.options, ...sizes, to: end.bootstrap });
    await there.send(new Uint8Array(0));
  };
  const ran = run();
  const inTime = await world.scheduler.run(() => done || world.broken.length > 0, LIMIT_MS);
  if (inTime) await ran;
  if (world.broken.length > 0) throw new Error(`seed ${seed}: ${world.broken[0]}`);
  return inTime;
}

// The last one polls for longer than a slice; each look takes virtual time, and some of ours.
for (const [pollUs, seeds] of [
  [0, 400],
  [50, 400],
  [1500, 40],
] as const) {
  void t.test(`messages go round in each of ${seeds} seeds, with pollUs ${pollUs}`, async (t) => {
    const stuck: number[] = [];
    for (let seed = 1; seed <= seeds; seed++) if (!(await play(seed, pollUs))) stuck.push(seed);
    t.strictSame(stuck, []);
  });
}

void t.test('it is seen when nobody looks again after arming', async (t) => {
  let stuck = 0;
  for (let seed = 1; seed <= 400 && stuck === 0; seed++) if (!(await play(seed, 0, 'blind-after-arming'))) stuck = seed;
  t.ok(stuck > 0, `seed ${stuck}`);
});
