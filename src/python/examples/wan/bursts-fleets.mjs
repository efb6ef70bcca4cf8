// The fleets of bursts.mjs as workflows, and as what the simulator takes.
//
// Invariant: both forms of a fleet have the same instances. BURSTS and WAN_OPTIONS say what the stages load; the
// workers import this module too.
import { fileURLToPath } from 'node:url';
import { workflow } from 'onepiece-rdma/pipeline';

const { models = 2, gpus = 0 } = JSON.parse(process.env.BURSTS ?? '{}');
const options = process.env.WAN_OPTIONS ?? '{}';
const interpreter = process.env.WAN_PYTHON ?? 'python3';
const sources = fileURLToPath(new URL('../..', import.meta.url));
const file = fileURLToPath(new URL('bursts.py', import.meta.url));
const module = fileURLToPath(import.meta.url);
const GIB = 2 ** 30;

/** A stage in Python. `share`: GiB of a GPU that it shares; without it, it has one for itself. */
function stage(name, share, more = {}) {
  const env = { WAN_OPTIONS: options, PYTHONPATH: sources, BURSTS: JSON.stringify({ models, ...more }) };
  const resources = share === undefined ? { gpus: 1 } : { gpuMemoryBytes: share * GIB };
  return { python: { file, name, interpreter, env }, maxOutputBytes: 2 ** 28, ...(gpus > 0 ? { resources } : {}) };
}

const named = (name) => workflow(name, { module, maxRequestBytes: 2 ** 26 });
const whole = (name, instances, copiesAll) =>
  named(name).stage('whole', { ...stage('Whole', undefined, { copiesAll }), instances });

function staged(name, instances, share) {
  return named(name)
    .stage('encode', stage('Encode', 14))
    .stage('diffuse', { ...stage('Diffuse', share), after: ['encode'], instances })
    .stage('decode', { ...stage('Decode', 14), after: ['diffuse'] });
}

const wideOf = (count) => Math.max(1, count);
const wide = wideOf(gpus);
/** Any GPU serves any model; a change copies the whole pipeline. */
export const monoSwap = whole('mono-swap', wide, true);
/** The same; a change copies only the weights that the models do not have in common. */
export const monoLight = whole('mono-light', wide, false);
/** One transformer on a GPU of its own; encoders and decoder share the other one. */
export const split = staged('split', 1);
/** A transformer on each GPU, which it shares with an encoder or a decoder: more than half of a GPU, so one on each. */
export const packed = staged('packed', wide, 42);

/** What runs, how many GPUs it needs at least, and where its transformer runs. */
export const FLEETS = {
  'mono-swap': { flow: monoSwap, needs: 1, instances: wide },
  'mono-light': { flow: monoLight, needs: 1, instances: wide },
  split: { flow: split, needs: 2, instances: 1 },
  packed: { flow: packed, needs: 1, instances: wide },
};

/**
 * The fleet for the simulator, behind one gateway, which does not know what an instance holds. Stages of `packed` share
 * all GPUs and take turns there, so that fleet is one pool.
 *
 * @param gpus of the fleet; 0: a CPU
 * @param seconds medians: encode, diffuse, decode, swap, and `other`, what the pipeline adds
 * @param count of the models
 */
export function fleetSpec(name, gpus, seconds, count) {
  const { encode, diffuse, decode, swap, other } = seconds;
  const pool = (stageName, fixed, isSwapping) => ({
    name: stageName,
    gpus: 1,
    memoryGB: 1,
    loadS: 0,
    slots: 1,
    resident: isSwapping ? 1 : 0,
    swapS: isSwapping ? swap : 0,
    adapterS: 0,
    patienceS: 0,
    prefetch: false,
    fixed,
    hintS: 1,
  });
  const step = (at, s) => ({ pool: at, seconds: s, units: 'none', transferS: 0 });
  const isSplit = name === 'split';
  const pools = isSplit
    ? [pool('encode', 1, false), pool('diffuse', 1, true), pool('decode', 1, false)]
    : [pool('whole', wideOf(gpus), true)];
  const route = isSplit
    ? [step(0, encode), step(1, diffuse), step(2, decode + other)]
    : [step(0, encode + diffuse + decode + other)];
  return { name, pools, routes: Array(count).fill(route), maxQueued: 65_536, tickS: 1, hasGateway: true };
}
