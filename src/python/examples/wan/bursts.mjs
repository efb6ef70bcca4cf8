// Several models of Wan2.1's shape under bursts: whole pipelines on each GPU, and the same in stages; each beside what
// the simulator says of it. Prints a line of JSON for each fleet.
//
//   node src/python/examples/wan/bursts.mjs --gpus 2 --models 4 --rate 2 --seconds 40
//   WAN_OPTIONS='{"tiny":true}' node src/python/examples/wan/bursts.mjs --gpus 0 --rate 4 --seconds 5   # on a CPU
//
// Invariant: all fleets get the same requests at the same times, and a latency runs from when its request was due. The
// simulator gets the medians of this fleet's own requests, sent one after the other before the bursts.
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';

const { values } = parseArgs({
  options: {
    gpus: { type: 'string', default: '1' },
    models: { type: 'string', default: '2' },
    rate: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '40' },
    seed: { type: 'string', default: '1' },
    fleets: { type: 'string' },
  },
});
const [gpus, models, rate, seconds, seed] = ['gpus', 'models', 'rate', 'seconds', 'seed'].map((name) => {
  const number = Number(values[name]);
  if (!(number >= 0)) throw new Error(`--${name} is a number, not ${values[name]}`);
  return number;
});
process.env.BURSTS = JSON.stringify({ models, gpus }); // before the workflows are made
const { LocalPipeline } = await import('onepiece-rdma/cluster');
const { tensor } = await import('onepiece-rdma/pipeline');
const { burstTrace, simulate } = await import('onepiece-rdma/planner');
const { FLEETS, fleetSpec } = await import('./bursts-fleets.mjs');

const PARTS = ['encode', 'diffuse', 'decode', 'swap'];
const names = Array.from({ length: models }, (_, i) => `model-${i}`);
// Three times the quiet rate for about 5 s, every 15 s on average.
const trace = burstTrace({ seed, rate, seconds, models: names, factor: 3, burstS: 5, quietS: 10 });
const picture = Uint8Array.from({ length: 48 * 64 * 3 }, (_, i) => (i * 7) % 256);

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.max(0, Math.ceil(q * list.length) - 1)] ?? 0;
const rounded = (object) => Object.fromEntries(Object.entries(object).map(([k, v]) => [k, Number(v.toFixed(4))]));

async function ask(pipeline, model) {
  const began = performance.now();
  const { outputs } = await pipeline.run(
    { meta: { model, seed: model }, parts: { picture: tensor('u8', [48, 64, 3], picture) } },
    { timeoutMs: 600_000 },
  );
  return { ...outputs[0].meta, tookS: (performance.now() - began) / 1000 };
}

// Requests one after the other: what each part takes, and what a change of the model takes.
async function idle(pipeline, instances) {
  for (let i = 0; i < 2 * instances; i++) await ask(pipeline, 0);
  const seen = [];
  for (let i = 0; i < 8; i++) seen.push(await ask(pipeline, i % models));
  const found = Object.fromEntries(
    PARTS.map((part) => [part, median(seen.map((one) => one.seconds[part]).filter((s) => part !== 'swap' || s > 0))]),
  );
  const bare = seen.map(({ tookS, seconds: s }) => tookS - PARTS.reduce((sum, part) => sum + s[part], 0));
  return { found, otherS: median(bare) };
}

async function underBursts(pipeline) {
  const model = (i) => Number(trace.models[trace.model[i]].slice('model-'.length));
  const began = performance.now() + 100;
  let swaps = 0;
  const checksums = names.map(() => new Set());
  const answers = [...trace.arrivalS].map(async (atS, i) => {
    await sleep(Math.max(0, began + atS * 1000 - performance.now()));
    const answer = await ask(pipeline, model(i));
    if (answer.seconds.swap > 0) swaps += 1;
    checksums[model(i)].add(answer.checksum);
    return (performance.now() - began) / 1000 - atS;
  });
  const latencyS = await Promise.all(answers);
  const endS = (performance.now() - began) / 1000;
  return { latencyS, endS, swaps, checksums: checksums.map((set) => [...set]) };
}

for (const name of (values.fleets ?? Object.keys(FLEETS).join(',')).split(',')) {
  if (FLEETS[name] === undefined) throw new Error(`--fleets: some of ${Object.keys(FLEETS).join(', ')}, not ${name}`);
  const { flow, needs, instances } = FLEETS[name];
  if (gpus > 0 && gpus < needs) {
    console.log(JSON.stringify({ row: 'wan-bursts', fleet: name, skipped: `needs ${needs} GPUs` }));
    continue;
  }
  const begun = performance.now();
  const pipeline = await LocalPipeline.start(flow, { device: 'soft0', startTimeoutMs: 300_000 });
  try {
    const startS = (performance.now() - begun) / 1000;
    const { found, otherS } = await idle(pipeline, instances);
    const { latencyS, endS, swaps, checksums } = await underBursts(pipeline);
    const bare = found.encode + found.diffuse + found.decode;
    const bareS = new Float64Array(latencyS.length).fill(bare);
    const fleet = fleetSpec(name, found, trace.models.length);
    const sim = simulate({ fleet, trace, bareS, sloFactor: 3, quantile: 0.95, seed: 1 });
    const inTime = latencyS.filter((s) => s <= 3 * bare).length / latencyS.length;
    const measured = { p50S: quantile(latencyS, 0.5), p95S: quantile(latencyS, 0.95), inTime, swaps, endS };
    const predicted = { p50S: sim.p50S, p95S: sim.p95S, inTime: sim.inTime, swaps: sim.loads };
    console.log(
      JSON.stringify({
        row: 'wan-bursts',
        fleet: name,
        gpus,
        models,
        requests: latencyS.length,
        rate,
        seconds,
        seed,
        startS,
        partsS: rounded({ ...found, other: otherS }),
        measured: rounded(measured),
        predicted: rounded(predicted),
        checksums,
      }),
    ); // prettier-ignore
  } finally {
    await pipeline.close();
  }
}
