// `onepiece cluster`: the certificates of a cluster between hosts.
//
// Invariant: what is secret goes into files that only their owner may read, never to standard output.
import { Command } from 'commander';
import { certifyNode, initCluster } from '../cluster/index.js';
import { UsageError } from './exit.js';
import { integer } from './options.js';

interface Options {
  dir: string;
  node?: string[];
  days: number;
  json?: true;
}

const DAYS = 730;

export function clusterCommand(): Command {
  return new Command('cluster')
    .description('certificates of a cluster between hosts')
    .addCommand(
      withOptions(new Command('init'))
        .description('make the authority and the secret of a new cluster, and certificates of its nodes')
        .option('--node <name>', 'a node to certify; several times', collect)
        .action(async ({ dir, node = [], days, json }: Options) => {
          const files = await initCluster(dir).catch(asUsage);
          const folders = await certifyAll(dir, node, days);
          const document = { schemaVersion: 1, ...files, nodes: folders };
          const words = [
            `the authority of the cluster: ${files.ca}; its key, which stays here: ${files.caKey}`,
            `the secret, for --secret-file on every node: ${files.secret}`,
            ...wordsOf(folders),
          ];
          process.stdout.write(json ? `${JSON.stringify(document)}\n` : `${words.join('\n')}\n`);
        }),
    )
    .addCommand(
      withOptions(new Command('certify'))
        .description('make certificates of more nodes, or new ones of those that there are')
        .argument('<nodes...>')
        .action(async (nodes: string[], { dir, days, json }: Options) => {
          const folders = await certifyAll(dir, nodes, days);
          const document = { schemaVersion: 1, nodes: folders };
          process.stdout.write(json ? `${JSON.stringify(document)}\n` : `${wordsOf(folders).join('\n')}\n`);
        }),
    );
}

function withOptions(command: Command): Command {
  return command
    .option('--dir <folder>', 'where they are kept', 'onepiece-cluster')
    .option('--days <count>', 'how long certificates of nodes are valid', integer(1, 3650), DAYS)
    .option('--json', 'print one JSON document');
}

const collect = (name: string, list: string[] = []): string[] => [...list, name];

async function certifyAll(dir: string, nodes: readonly string[], days: number): Promise<Record<string, string>> {
  const folders: Record<string, string> = {};
  for (const node of nodes) folders[node] = await certifyNode(dir, node, days).catch(asUsage);
  return folders;
}

function wordsOf(folders: Readonly<Record<string, string>>): string[] {
  return Object.entries(folders).map(([node, folder]) => `for --tls-dir of node ${node}: ${folder}`);
}

function asUsage(error: unknown): never {
  const { code, message } = error as { code?: string; message: string };
  if (code === 'RDMA_ERR_INVALID_ARGUMENT') throw new UsageError(message);
  throw error;
}
