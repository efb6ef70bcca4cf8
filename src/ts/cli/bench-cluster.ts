// `onepiece bench cluster`: what a cluster does when parts of it go away, and how fast it is.
//
// Invariant: see bench-run.ts.
import { Command, Option } from 'commander';
import type { ClusterBench } from '../bench/cluster/result.js';
import { clusterBench } from '../bench/cluster/run.js';
import { checkClusterBench, CLUSTER_PARTS, type ClusterPart } from '../bench/cluster/settings.js';
import { peersFor } from './bench-compare.js';
import { runBench, usable } from './bench-run.js';
import { integer, listOf } from './options.js';
import { table } from './table.js';

interface ClusterFlags {
  only?: ClusterPart[];
  nodes: number;
  device: string;
  leaseMs: number;
  rounds?: number;
  awayS?: number;
  seconds?: number;
  clients: number;
  stageMs: number;
  loadMs?: number;
  compare: boolean;
  quick?: true;
  json?: true;
}

export function clusterCommand(setExitCode: (code: number) => void): Command {
  return new Command('cluster')
    .description('nodes, leader, workers and nats-server go under load, an app is updated and scaled; BullMQ beside')
    .option('--only <parts>', `some of ${CLUSTER_PARTS.join(', ')}`, listOf(CLUSTER_PARTS))
    .option('--nodes <count>', 'nodes, each a process on this machine', integer(2, 16), 3)
    .option('-d, --device <name>', 'the RDMA device that carries the messages', 'soft0')
    .option('--lease-ms <ms>', 'after how long without a sign a node counts as lost', integer(500, 60_000), 3000)
    .option('--rounds <count>', 'how often each is killed; figures are medians; default 3', integer(1, 100))
    .option('--away-s <seconds>', 'how long nats-server is away; default 60', integer(1, 3600))
    .option('--seconds <seconds>', 'how long speed is measured; default 5', integer(1, 600))
    .option('--clients <count>', 'requests at a time under load', integer(1, 256), 8)
    .option('--stage-ms <ms>', 'how long each stage sleeps under load', integer(0, 10_000), 10)
    .option('--load-ms <ms>', 'how long an instance loads when the load steps up; default 4000', integer(200, 60_000))
    .addOption(new Option('--no-compare', 'without BullMQ beside it, which only a checkout has'))
    .option('--quick', 'one round, 5 s without nats-server, 2 s for speed, 1 s to load: to see that it works')
    .option('--json', 'print one JSON document instead of the table')
    .action(async (flags: ClusterFlags) => setExitCode(await runCluster(flags)));
}

function runCluster({ compare, quick, json, ...asked }: ClusterFlags): Promise<number> {
  const shorter = quick === undefined ? {} : { rounds: 1, awayS: 5, seconds: 2, loadMs: 1000 };
  const beside = compare ? peersFor('the row of BullMQ', true)?.cluster : undefined;
  const settings = usable(() => checkClusterBench({ ...shorter, ...asked, compareBullMq: beside !== undefined }));
  return runBench(json === undefined ? {} : { json }, async ({ onStep, onNote, signal }) => {
    const document = await clusterBench(settings, beside, onStep, signal);
    for (const { what, reason } of document.failures) onNote(`${what}: ${reason}`);
    return { document, text: () => text(document) };
  });
}

function text({ rows, peers, machine }: ClusterBench): string {
  const lines = rows.map(({ peer, what, value, unit }) => [
    peer ?? 'onepiece',
    what,
    value === null ? '-' : String(value),
    unit,
  ]);
  const head = `${machine.cores} cores, ${machine.cpu}${peers.map((peer) => `; ${peer}`).join('')}`;
  return `${head}\n${table(['WHO', 'WHAT', '>FIGURE', 'UNIT'], lines)}\n`;
}
