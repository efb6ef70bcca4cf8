// Proves that a pipeline of processes answers every request rightly, whichever of its processes are killed and when:
// each in turn, several at once, all of them, at random moments and while it starts.
import t from 'tap';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { diamond, diamondRequest } from '../pipeline/workflows.js';
import { alive, children, load, start } from './support.js';

const RIGHT = (count: number) => ({ finished: count, wrong: [] });

function kill(pipeline: LocalPipeline, stage: string, instance: number): number {
  const { pid } = pipeline.processes.find((place) => place.stage === stage && place.instance === instance) ?? {};
  if (pid === undefined) throw new Error(`${stage}/${instance} has no process`);
  process.kill(pid, 'SIGKILL');
  return pid;
}

void t.test('hundreds of requests at a time are answered, each with its own result', async (t) => {
  const { pipeline } = await start(t, diamond, { maxInFlight: 8 });
  t.same(await load(pipeline, 300, 24), RIGHT(300));
  t.same(pipeline.restarts, []);
  t.same(pipeline.load, { inFlight: 0, queued: 0 });
});

void t.test('every instance in turn may be killed, and then all at once', async (t) => {
  const { pipeline, pids } = await start(t, diamond, { maxInFlight: 6 });
  const places = pipeline.processes.map(({ stage, instance }) => ({ stage, instance }));
  t.equal(places.length, 5);
  for (const [turn, { stage, instance }] of places.entries()) {
    let killed = 0;
    const outcome = await load(pipeline, 30, 8, (finished) => {
      if (finished === 8) killed = kill(pipeline, stage, instance);
    });
    t.same(outcome, RIGHT(30), `without ${stage}/${instance}`);
    await until('its replacement', () => pipeline.processes.length === 5 && pipeline.restarts.length === turn + 1);
    t.match(pipeline.restarts.at(-1), { stage, instance, reason: 'signal SIGKILL' });
    t.notOk(alive(killed));
    pids();
  }
  const outcome = await load(pipeline, 30, 8, (finished) => {
    if (finished === 8) for (const { stage, instance } of places) kill(pipeline, stage, instance);
  });
  t.same(outcome, RIGHT(30), 'without any of them');
  t.equal(pipeline.restarts.length, 10);
});

void t.test('random ones may be killed at random moments, and the pipeline does not tire of it', async (t) => {
  let seed = 20601;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const { pipeline, pids } = await start(t, diamond, { maxInFlight: 5, maxRestarts: 100 });
  let kills = 0;
  let next = 3;
  const outcome = await load(pipeline, 160, 12, (finished) => {
    if (finished < next) return;
    next = finished + 5 + random(20);
    const running = pipeline.processes;
    for (let count = 1 + random(2); count > 0; count--) {
      const victim = running.splice(random(running.length), 1)[0];
      if (victim === undefined) break;
      process.kill(victim.pid, 'SIGKILL');
      kills++;
    }
    pids();
  });
  t.same(outcome, RIGHT(160));
  t.ok(kills > 10, `${kills} kills`);
  await until('all replacements', () => pipeline.restarts.length === kills);
  // Idle, it holds nothing: the next requests have all the room there is.
  t.same(await within('requests behind it', load(pipeline, 30, 12)), RIGHT(30));
});

void t.test('instances that are killed while the pipeline starts are replaced', async (t) => {
  const starting = LocalPipeline.start(diamond, { device: DEVICE });
  // The processes are there as soon as the proxy is open; they are found as children of this one.
  await until('the processes', () => children().length === 5);
  const [first, , third] = children();
  process.kill(first!, 'SIGKILL');
  process.kill(third!, 'SIGKILL');
  const pipeline = await within('the start', starting, 60_000);
  t.teardown(() => pipeline.close());
  t.equal(pipeline.restarts.length, 2);
  const { request, result } = diamondRequest(5);
  t.same((await within('a result', pipeline.run(request))).outputs[0]?.meta, result);
});
