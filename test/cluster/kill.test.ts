// Proves that a pipeline of processes answers every request rightly, whichever of its processes are killed and when:
// each in turn, several at once, all of them, at random moments, while it starts and while its stages grow and shrink.
import t from 'tap';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { diamond, diamondRequest } from '../pipeline/workflows.js';
import { alive, children, idle, load, start } from './support.js';

const RIGHT = (count: number) => ({ finished: count, wrong: [] });

function kill(pipeline: LocalPipeline, stage: string, instance: number): number {
  const { pid } = pipeline.processes.find((place) => place.stage === stage && place.instance === instance) ?? {};
  if (pid === undefined) throw new Error(`${stage}/${instance} has no process`);
  process.kill(pid, 'SIGKILL');
  return pid;
}

// A seeded generator: a whole number from 0 to `below` - 1.
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
}

void t.test('hundreds of requests at a time are answered, each with its own result', async (t) => {
  const { pipeline } = await start(t, diamond);
  t.same(await load(pipeline, 300, 24), RIGHT(300));
  t.same(pipeline.restarts, []);
  t.same(pipeline.load, { inFlight: 0, queued: 0 });
  await idle(pipeline);
});

void t.test('every instance in turn may be killed, and then all at once', async (t) => {
  const { pipeline, pids } = await start(t, diamond);
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
  const random = randomFrom(20601);
  const { pipeline, pids } = await start(t, diamond, { maxRestarts: 100 });
  const killed = new Set<number>(); // one may be hit twice before its end is noticed
  let next = 3;
  const outcome = await load(pipeline, 160, 12, (finished) => {
    if (finished < next) return;
    next = finished + 5 + random(20);
    const running = pipeline.processes;
    for (let count = 1 + random(2); count > 0; count--) {
      const victim = running.splice(random(running.length), 1)[0];
      if (victim === undefined) break;
      process.kill(victim.pid, 'SIGKILL');
      killed.add(victim.pid);
    }
    pids();
  });
  t.same(outcome, RIGHT(160));
  t.ok(killed.size > 10, `${killed.size} kills`);
  await until('all replacements', () => pipeline.restarts.length === killed.size);
  // Idle, it holds nothing: the next requests have all the room there is.
  t.same(await within('requests behind it', load(pipeline, 30, 12)), RIGHT(30));
  await idle(pipeline);
});

void t.test('instances that are killed while the pipeline starts are replaced', async (t) => {
  const starting = LocalPipeline.start(diamond, { device: DEVICE });
  // The processes are there as soon as the gateway is open; they are found as children of this one.
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

void t.test('stages grow and shrink under load, and no request fails', async (t) => {
  const { pipeline, pids } = await start(t, diamond);
  let changed = 0;
  const changes = async () => {
    for (const [stage, count] of [
      ['scale', 4],
      ['square', 3],
      ['scale', 1],
      ['square', 1],
      ['total', 2],
      ['scale', 2],
      ['square', 2],
      ['total', 1],
    ] as const) {
      await within(`${stage} of ${count}`, pipeline.scale(stage, count), 60_000);
      changed++;
      pids();
      t.equal(pipeline.processes.filter((place) => place.stage === stage).length, count);
    }
  };
  const changing = changes();
  let requests = 0;
  while (changed < 8) {
    const outcome = await load(pipeline, 40, 8);
    t.same(outcome, RIGHT(40));
    requests += 40;
  }
  await changing;
  t.ok(requests >= 40);
  t.same(pipeline.restarts, []);
  await idle(pipeline);
});

void t.test('stages grow and shrink while their processes are killed, and no request fails', async (t) => {
  const random = randomFrom(20602);
  const { pipeline, pids } = await start(t, diamond, { maxRestarts: 100 });
  let over = false;
  let kills = 0;
  const counts = { scale: 2, square: 2, total: 1 };
  const changes = async () => {
    for (let round = 0; round < 8; round++) {
      const stage = (['scale', 'square', 'total'] as const)[random(3)]!;
      counts[stage] = 1 + random(3);
      await within(`${stage} of ${counts[stage]}`, pipeline.scale(stage, counts[stage]), 60_000);
      pids();
    }
    over = true;
  };
  const changing = changes();
  changing.catch(() => {
    over = true;
  });
  let next = 3;
  while (!over) {
    const outcome = await load(pipeline, 60, 8, (finished) => {
      if (finished < next) return;
      next = finished + 10 + random(20);
      const running = pipeline.processes;
      const victim = running[random(running.length)];
      if (victim === undefined) return;
      process.kill(victim.pid, 'SIGKILL');
      kills++;
      pids();
    });
    t.same(outcome, RIGHT(60));
    next = 3;
  }
  await changing;
  t.ok(kills > 4, `${kills} kills`);
  for (const stage of ['scale', 'square', 'total'] as const) {
    await until(
      `${counts[stage]} of ${stage}`,
      () => pipeline.processes.filter((p) => p.stage === stage).length === counts[stage],
    );
  }
  t.same(await within('requests behind it', load(pipeline, 30, 8)), RIGHT(30));
  await idle(pipeline);
});
