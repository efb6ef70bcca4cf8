// Compares the simulator with a cluster of real processes: see the usage.
//
// Invariant: the simulator knows the profile of the stages and nothing of what the cluster measured. Prints one JSON
// document.
import { readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { profileOf } from '../../src/ts/bench/profile/document.js';
import { measureWorkflow } from '../../src/ts/bench/profile/measure.js';
import { checkProfile } from '../../src/ts/planner/profiles/profile.js';
import { CLUSTER_DELAYS } from '../../src/ts/planner/fleet/fleet.js';
import { DEVICE } from '../pipeline/support.js';
import { runProgram } from '../program.js';
import { type Measured, measurePoint } from './reality-cluster.js';
import { distanceOf, simulated, tenPoints } from './reality-points.js';
import { fixed } from './reality-workflow.js';

const usage = `Usage: node build-test/test/sim/reality-main.js [options]

  --seconds N     how long a point of a fixed fleet takes; an elastic one half as long again; default 60
  --only I,J      some of the ten points, from 0
  --from FILE     simulates again what an earlier run of this program measured
  --help          this text
`;

interface Row {
  readonly name: string;
  readonly load: number;
  readonly measured: Measured;
}

async function measureProfile() {
  const settings = {
    requests: [{ meta: { units: 1 } }],
    rounds: 10,
    batches: [1],
    warmUp: 2,
    loads: 3,
    device: DEVICE,
    requestTimeoutMs: 60_000,
    startTimeoutMs: 60_000,
  };
  const { signal } = new AbortController();
  const measured = await measureWorkflow(fixed, settings, () => {}, signal);
  const machine = `${cpus()[0]?.model}, ${cpus().length} cores`;
  const around = {
    id: fixed.name,
    what: 'stages that sleep',
    machine,
    where: 'reality-main',
    gpu: undefined,
    units: 1,
  };
  return profileOf(fixed.spec, measured, { ...around, hostMemoryGB: 1000, shared: new Set<string>() });
}

async function main(): Promise<number> {
  const text = { type: 'string' } as const;
  const options = { seconds: text, only: text, from: text, help: { type: 'boolean' } } as const;
  const { values } = parseArgs({ options });
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const former = values.from === undefined ? undefined : JSON.parse(readFileSync(values.from, 'utf8'));
  const seconds: number = former?.seconds ?? Number(values.seconds ?? 60);
  if (!(seconds >= 5 && seconds <= 3600)) throw new RangeError('--seconds must be 5 to 3600');
  const only = values.only?.split(',').map(Number);
  const points = tenPoints(seconds).filter((_, i) => only?.includes(i) ?? true);
  const profile = former === undefined ? await measureProfile() : checkProfile(former.profile);
  const rows = [];
  for (const point of points) {
    const known = former?.rows.find(({ name }: Row) => name === point.name) as Row | undefined;
    if (former !== undefined && known === undefined) continue;
    process.stderr.write(`${point.name}\n`);
    const measured = known?.measured ?? (await measurePoint(point));
    const simulation = simulated(point, profile, CLUSTER_DELAYS);
    const load = known?.load ?? loadavg()[0]!;
    const distance = distanceOf(simulation, measured);
    process.stderr.write(`${JSON.stringify({ ...measured, counts: undefined })}\n${JSON.stringify(simulation)}\n`);
    rows.push({ name: point.name, load, measured, simulated: simulation, distance });
  }
  const document = { schemaVersion: 1, test: 'simulator-reality', seconds, delays: CLUSTER_DELAYS, profile, rows };
  process.stdout.write(`${JSON.stringify({ ...document, profile: { schema: 'onepiece-profile-1', ...profile } })}\n`);
  return rows.every(({ distance }) => distance.isMet) ? 0 : 1;
}

runProgram(main, usage);
