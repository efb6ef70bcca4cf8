// Two guest kernels with soft-RoCE, joined by a network: `npm run rxe:pair`.
// Invariant: it ends with 0 only when every step did what it should; no process or file of a run outlives it.

import { parseArgs } from 'node:util';

import { Failure, Interrupted, usageError } from './rxe/failure.mjs';
import { ensureImage, removeOld } from './rxe/image.mjs';
import { ensurePackages, requireDistribution } from './rxe/packages.mjs';
import { withPair } from './rxe/pair.mjs';
import { checkFailover } from './rxe/pair-failover.mjs';
import { checkNetwork } from './rxe/pair-network.mjs';

const HELP = `Usage: node scripts/rxe-pair.mjs [options]

Boots two guests, a and b, with one kernel each and rxe0 on a network card; a cable joins them. Two parts:

  network            rping and pingpong between them, of rdma-core and ours
  cluster            a node of a cluster on each: the demo makes its clip on both, also when node b is killed half-way

  --only PART        network or cluster; default: both
  --power-cut        in the second part node b comes back, and then guest b loses its power half-way
  --memory MIB       memory of each guest (default 2048)
  --cpus N           processors of each guest (default 1)
  --timeout SECONDS  limit for all of it (default 1500)
  --help             show this text

Exit code: 0; 1 something did not do what it should; 2 usage; 3 cannot run here; 124 timeout; 125 a guest died.
`;

const PARTS = ['network', 'cluster'];
/** What the cluster needs beside what every guest does. */
const CLUSTER_PACKAGES = ['nats-server'];
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const begun = performance.now();
const say = (text) =>
  process.stdout.write(`${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${text}\n`);

function readOptions() {
  const number = (name, text, least, most) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most)) throw usageError(`--${name} needs a whole number from ${least} to ${most}`);
    return value;
  };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        memory: { type: 'string', default: '2048' },
        cpus: { type: 'string', default: '1' },
        only: { type: 'string' },
        'power-cut': { type: 'boolean', default: false },
        timeout: { type: 'string', default: '1500' },
        help: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw usageError(error.message);
  }
  const { only } = values;
  if (only !== undefined && !PARTS.includes(only)) throw usageError(`--only needs one of ${PARTS.join(', ')}`);
  const parts = only === undefined ? PARTS : [only];
  if (values['power-cut'] && !parts.includes('cluster')) throw usageError('--power-cut is for the part cluster');
  return {
    help: values.help,
    parts,
    powerCut: values['power-cut'],
    memory: number('memory', values.memory, 768, 65_536),
    cpus: number('cpus', values.cpus, 1, 64),
    timeout: number('timeout', values.timeout, 10, 86_400),
  };
}

async function main(stop) {
  const options = readOptions();
  if (options.help) return process.stdout.write(HELP);
  requireDistribution();
  await ensurePackages(stop, say, options.parts.includes('cluster') ? CLUSTER_PACKAGES : []);
  removeOld();
  const image = await ensureImage({ stop, progress: say });
  say(`booting two guests with kernel ${image.name}`);
  await withPair({ ...options, image, stop, say }, async (pair) => {
    say('both are up');
    if (options.parts.includes('network')) await checkNetwork(pair, say);
    if (options.parts.includes('cluster')) await checkFailover(pair, { stop, say, powerCut: options.powerCut });
    say(`${pair.wire.frames} frames went over the cable`);
  });
  return say('good');
}

const interruption = new AbortController();
const interrupt = (signal) => interruption.abort(new Interrupted(signal));
for (const signal of SIGNALS) process.on(signal, interrupt);

let exitCode = 0;
try {
  await main(interruption.signal);
} catch (error) {
  if (error instanceof Interrupted) {
    for (const signal of SIGNALS) process.off(signal, interrupt);
    process.kill(process.pid, error.signal);
  }
  say(`FAILED: ${error instanceof Failure ? error.message : error.stack}`);
  exitCode = error.exitCode ?? 1;
}
process.exitCode = exitCode;
