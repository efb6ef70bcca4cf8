// `npm run chaos:cluster`: chaos on a cluster for as long as one likes. Invariant: the result goes to stdout as a line
// of JSON, the blows to stderr; 0: all held, 1: something did not, 2: wrong usage.
import { parseArgs } from 'node:util';
import { NO_NATS } from '../control/nats-server.js';
import { NO_REDIS } from '../jobs/redis-server.js';
import { runClusterChaos } from './cluster-chaos.js';
import { CLUSTER_FAULTS, type ClusterFault } from './cluster-chaos-plan.js';
import { runProgram } from '../program.js';

const usage = `Usage: npm run chaos:cluster -- [options]

  --seed N        decides which blows come, on whom and for how long; default: by the clock
  --minutes M     how long, such as 0.5; default 10
  --nodes N       nodes, 2 to 5; default 3
  --gateways N    gateways at a time, 1 to 4; default 2
  --clients N     requests at a time, 1 to 64; default 6
  --between N     requests that end between two blows, on average; default 60
  --faults N      no more than so many blows; default: as many as there is time for
  --only LIST     kinds of blows, such as 'kill node,stop store'; default: all
  --hold          when something is wrong, says what there is, and leaves it so until SIGCONT comes
  --json          the result is always one line of JSON; taken for the sake of other commands
  --help          this text
`;

function readNumber(name: string, text: string | undefined, fallback: number, least: number, most: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value >= least && value <= most)) throw new RangeError(`--${name} must be ${least} to ${most}, not ${text}`);
  if (name !== 'minutes' && !Number.isInteger(value)) throw new RangeError(`--${name} must be a whole number`);
  return value;
}

function readFaults(list: string): ClusterFault[] {
  return list.split(',').map((name) => {
    const fault = CLUSTER_FAULTS.find((each) => each === name);
    if (fault === undefined) throw new RangeError(`--only: ${name} is none of ${CLUSTER_FAULTS.join(', ')}`);
    return fault;
  });
}

// So that its processes can be looked at.
function hold(state: string): Promise<void> {
  process.stderr.write(`${state}\n${process.pid} waits for SIGCONT\n`);
  const timer = setInterval(() => {}, 60_000);
  return new Promise((resolve) => {
    process.once('SIGCONT', () => {
      clearInterval(timer);
      resolve();
    });
  });
}

async function main(): Promise<number> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      seed: text,
      minutes: text,
      nodes: text,
      gateways: text,
      clients: text,
      between: text,
      faults: text,
      only: text,
      hold: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const options = {
    seed: readNumber('seed', values.seed, 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000), 0, 2 ** 32 - 1),
    forMs: 60_000 * readNumber('minutes', values.minutes, 10, 0.01, 10_000),
    nodes: readNumber('nodes', values.nodes, 3, 2, 5),
    gateways: readNumber('gateways', values.gateways, 2, 1, 4),
    clients: readNumber('clients', values.clients, 6, 1, 64),
    between: readNumber('between', values.between, 60, 1, 1e6),
    faults: values.faults === undefined ? undefined : readNumber('faults', values.faults, 0, 1, 1e6),
    only: values.only === undefined ? undefined : readFaults(values.only),
    ...(values.hold ? { onProblem: hold } : {}),
  };
  const missing = NO_NATS ?? NO_REDIS;
  if (missing !== undefined) throw new Error(missing);
  const summary = await runClusterChaos({ ...options, onBlow: (blow) => process.stderr.write(`${blow}\n`) });
  process.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...summary })}\n`);
  const { lost, twice, wrong, hung } = summary;
  return lost + twice + wrong + hung === 0 ? 0 : 1;
}

runProgram(main, usage);
