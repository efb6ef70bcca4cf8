// Several models of Wan2.1's shape under bursts: whole pipelines on each GPU, and the same in stages; each beside what
// the simulator says of it. Prints a line of JSON for each fleet.
//
//   node src/python/examples/wan/bursts.mjs --gpus 2 --models 4 --rate 2 --seconds 40
//   WAN_OPTIONS='{"tiny":true}' node src/python/examples/wan/bursts.mjs --gpus 0 --rate 4 --seconds 5   # on a CPU
//   node src/python/examples/wan/bursts.mjs --from FILE    # lines of this program, predicted again
//
// Invariant: all fleets get the same requests at the same times, and a latency runs from when its request was due. The
// simulator gets the medians of this fleet's own requests, sent one after the other before the bursts.
import { readFileSync } from 'node:fs';
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
    from: { type: 'string' },
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
const SLO_FACTOR = 3;
const picture = Uint8Array.from({ length: 48 * 64 * 3 }, (_, i) => (i * 7) % 256);

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.max(0, Math.ceil(q * list.length) - 1)] ?? 0;
const rounded = (object) => Object.fromEntries(Object.entries(object).map(([k, v]) => [k, Number(v.toFixed(4))]));
const bareOf = ({ encode, diffuse, decode }) => encode + diffuse + decode;

// Three times the quiet rate for about 5 s, every 15 s on average.
function traceOf({ models: count, ...run }) {
  const names = Array.from({ length: count }, (_, i) => `model-${i}`);
  const { seed, rate, seconds } = run;
  return burstTrace({ seed, rate, seconds, models: names, factor: 3, burstS: 5, quietS: 10 });
}

function predictionOf(row) {
  const trace = traceOf(row);
  const fleet = fleetSpec(row.fleet, row.gpus, row.partsS, trace.models.length);
  const bareS = new Float64Array(trace.arrivalS.length).fill(bareOf(row.partsS));
  const { p50S, p95S, inTime, loads } = simulate({
    fleet,
    trace,
    bareS,
    sloFactor: SLO_FACTOR,
    quantile: 0.95,
    seed: 1,
  });
  return rounded({ p50S, p95S, inTime, swaps: loads });
}

async function ask(pipeline, model) {
  const began = performance.now();
  const { outputs } = await pipeline.run(
    { meta: { model, seed: model }, parts: { picture: tensor('u8', [48, 64, 3], picture) } },
    { timeoutMs: 600_000 },
  );
  return { ...outputs[0].meta, tookS: (performance.now() - began) / 1000 };
}

/** Medians of the parts; of changes of the model, those that took place. */
function partsOf(answers) {
  const of = (part) => answers.map((one) => one.seconds[part]).filter((s) => part !== 'swap' || s > 0);
  return Object.fromEntries(PARTS.map((part) => [part, median(of(part))]));
}

// Requests one after the other: what each part takes, what a change of the model takes, and what the pipeline adds.
async function idle(pipeline, instances) {
  for (let i = 0; i < 2 * instances; i++) await ask(pipeline, 0);
  const seen = [];
  for (let i = 0; i < 8; i++) seen.push(await ask(pipeline, i % models));
  const other = seen.map(({ tookS, seconds: s }) => tookS - PARTS.reduce((sum, part) => sum + s[part], 0));
  return { ...partsOf(seen), other: Math.max(0, median(other)) };
}

async function underBursts(pipeline) {
  const trace = traceOf({ models, seed, rate, seconds });
  const model = (i) => Number(trace.models[trace.model[i]].slice('model-'.length));
  const began = performance.now() + 100;
  const checksums = Array.from({ length: models }, () => new Set());
  const requests = [...trace.arrivalS].map(async (atS, i) => {
    await sleep(Math.max(0, began + atS * 1000 - performance.now()));
    const answer = await ask(pipeline, model(i));
    checksums[model(i)].add(answer.checksum);
    return { ...answer, latencyS: (performance.now() - began) / 1000 - atS };
  });
  const answers = await Promise.all(requests);
  const endS = (performance.now() - began) / 1000;
  return { answers, endS, checksums: checksums.map((set) => [...set]) };
}

async function measure(name) {
  const { flow, instances } = FLEETS[name];
  const begun = performance.now();
  const pipeline = await LocalPipeline.start(flow, { device: 'soft0', startTimeoutMs: 300_000 });
  try {
    const startS = (performance.now() - begun) / 1000;
    const partsS = rounded(await idle(pipeline, instances));
    const { answers, endS, checksums } = await underBursts(pipeline);
    const latencyS = answers.map((one) => one.latencyS);
    const inTime = latencyS.filter((s) => s <= SLO_FACTOR * bareOf(partsS)).length / latencyS.length;
    const swaps = answers.filter((one) => one.seconds.swap > 0).length;
    const measured = rounded({ p50S: quantile(latencyS, 0.5), p95S: quantile(latencyS, 0.95), inTime, swaps, endS });
    const run = { fleet: name, gpus, models, requests: latencyS.length, rate, seconds, seed, startS };
    return { ...run, partsS, burstPartsS: rounded(partsOf(answers)), measured, checksums };
  } finally {
    await pipeline.close();
  }
}

const print = (row) => console.log(JSON.stringify({ row: 'wan-bursts', ...row }));

if (values.from !== undefined) {
  for (const line of readFileSync(values.from, 'utf8').split('\n')) {
    const row = line.startsWith('{') ? JSON.parse(line) : {};
    if (row.partsS !== undefined) print({ ...row, predicted: predictionOf(row) });
  }
} else {
  const names = (values.fleets ?? Object.keys(FLEETS).join(',')).split(',');
  const unknown = names.find((name) => FLEETS[name] === undefined);
  if (unknown !== undefined) throw new Error(`--fleets: some of ${Object.keys(FLEETS).join(', ')}, not ${unknown}`);
  for (const name of names) {
    const { needs } = FLEETS[name];
    if (gpus > 0 && gpus < needs) {
      print({ fleet: name, skipped: `needs ${needs} GPUs` });
      continue;
    }
    const row = await measure(name);
    print({ ...row, predicted: predictionOf(row) });
  }
}
