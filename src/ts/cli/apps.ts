// `onepiece undeploy`, `scale`, `drain` and `status`: what operators do with a cluster.
//
// Invariant: each changes one record of the control store and ends; what comes of it is the controller's work, and
// `status` shows it.
import { Command } from 'commander';
import { type AppOverview, type ClusterOverview, drainNode, overview, scaleApp, undeploy } from '../cluster/index.js';
import { type ControlOptions, controlOptions, withControl } from './cluster-options.js';
import { UsageError } from './exit.js';
import { integer } from './options.js';
import { bytes, table } from './table.js';

interface Common extends ControlOptions {
  json?: true;
}

const SCHEMA_VERSION = 1;
const count = integer(1, 64);

function command(name: string): Command {
  return controlOptions(new Command(name)).option('--json', 'print one JSON document');
}

export function clusterCommands(): Command[] {
  return [
    command('undeploy')
      .description('remove a workflow from the cluster: its processes end')
      .argument('<app>')
      .action(async (app: string, options: Common) => {
        await withControl(options, (store) => undeploy(store, app)).catch(asUsage);
        print(options, `${app} is removed`, { app });
      }),
    command('scale')
      .description('change how many instances a stage has')
      .argument('<app>')
      .argument('<stage>')
      .argument('<instances>', '1 to 64; `auto`: as many as its load needs', (text) =>
        text === 'auto' ? text : count(text),
      )
      .option('--fixed', 'hold the count, though the stage is scaled by its load')
      .action(async (app: string, stage: string, instances: number | 'auto', options: Common & { fixed?: true }) => {
        const how = { fixed: options.fixed === true };
        await withControl(options, (store) => scaleApp(store, app, stage, instances, how)).catch(asUsage);
        const many = instances === 'auto' ? 'as many instances as its load needs' : instances;
        print(options, `${app}/${stage} shall have ${many}`, { app, stage, instances });
      }),
    command('drain')
      .description('empty a node: its places go on elsewhere, what runs on it ends')
      .argument('<node>')
      .option('--undo', 'let it have places again')
      .action(async (node: string, options: Common & { undo?: true }) => {
        await withControl(options, (store) => drainNode(store, node, !options.undo)).catch(asUsage);
        print(options, options.undo ? `${node} may have places` : `${node} is being emptied`, { node });
      }),
    command('status')
      .description('show the nodes and apps of a cluster')
      .action(async (options: Common) => {
        const seen = await withControl(options, (store) => overview(store));
        if (options.json) process.stdout.write(`${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...seen })}\n`);
        else process.stdout.write(`${overviewText(seen)}\n`);
      }),
  ];
}

function print({ json }: Common, words: string, document: object): void {
  process.stdout.write(json ? `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...document })}\n` : `${words}\n`);
}

function asUsage(error: unknown): never {
  const { code, message } = error as { code?: string; message: string };
  if (code === 'RDMA_ERR_INVALID_ARGUMENT') throw new UsageError(message);
  throw error;
}

// `soft0 to gateway/0, b/0 (shared memory: the same host and user); mlx5_0 to c/0 (RoCE v2 within 10.0.0.0/24)`
function viaWords(vias: ClusterOverview['apps'][number]['places'][number]['vias']): string {
  const groups = new Map<string, { device: string; why: string; targets: string[] }>();
  for (const [target, { device, why }] of Object.entries(vias)) {
    const key = `${device} ${why}`;
    const group = groups.get(key) ?? { device, why, targets: [] };
    group.targets.push(target);
    groups.set(key, group);
  }
  return [...groups.values()]
    .map(({ device, why, targets }) => `${device} to ${targets.sort().join(', ')} (${why})`)
    .join('; ');
}

function overviewText({ leader, nodes, apps }: ClusterOverview): string {
  const lines = [leader === null ? 'nobody leads' : `${leader.name} leads in term ${leader.term}`, ''];
  const nodeRows = nodes.map(({ name, host, cores, memoryBytes, gpus, draining, places }) => {
    return [
      name,
      host,
      String(cores),
      bytes(memoryBytes),
      String(gpus.length),
      String(places),
      draining ? 'draining' : '',
    ];
  });
  lines.push(
    nodes.length === 0 ? 'no nodes' : table(['node', 'host', '>cores', '>memory', '>gpus', '>places', ''], nodeRows),
  );
  for (const app of apps) {
    const rows = app.places.map(({ place, node, state, reason, vias }) => [
      place,
      node,
      state,
      reason ?? viaWords(vias),
    ]);
    const gateways = app.gateways.length === 0 ? 'none: connect one' : app.gateways.join(', ');
    lines.push('', `${app.name} ${versionText(app)}: plan ${app.plan ?? 'none'}, gateways ${gateways}`);
    if (rows.length > 0) lines.push(table(['place', 'node', 'state', 'sends by'], rows));
    for (const words of app.unplaced) lines.push(words);
    if (app.refused !== null) lines.push(`the last change was taken back: ${app.refused}`);
    if (app.role !== 'current') continue;
    if (app.rolledBack !== null)
      lines.push(`version ${app.rolledBack.version} was taken back: ${app.rolledBack.reason}`);
    if (app.past.length > 0) lines.push(`versions before: ${app.past.join(', ')}`);
  }
  return lines.join('\n');
}

function versionText({ version, role }: AppOverview): string {
  if (role === 'current') return version;
  return role === 'next' ? `${version}, which is brought up` : `${version}, which has its last requests`;
}
