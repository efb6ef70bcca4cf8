// `onepiece events`: what a cluster has decided, and whether the same would be decided again.
//
// Invariant: it reads only. With --json each line is one event as the store keeps it, and such a file is what --replay
// takes.
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { type ClusterEvent, followClusterEvents, listClusterEvents, replayEvents } from '../cluster/index.js';
import { withControl } from './cluster-options.js';
import { ExitCode, interruptible, UsageError } from './exit.js';

interface EventsOptions {
  control?: string;
  bucket: string;
  app?: string;
  follow?: true;
  json?: true;
  replay?: string;
}

export function eventsCommand(setExitCode: (code: number) => void): Command {
  return new Command('events')
    .description('show what a cluster has decided, the newest last, or make its decisions again')
    .option('--control <url>', 'the nats-server that the cluster agrees through, such as nats://host:4222')
    .option('--bucket <name>', 'the key-value bucket of the cluster', 'onepiece')
    .option('--app <name>', 'of this app only')
    .option('--follow', 'go on with those that come, until a signal')
    .option('--json', 'print each event as one line of JSON')
    .addOption(
      new Option('--replay <file>', 'make the decisions of such lines again; 1 when one differs').conflicts([
        'control',
        'follow',
      ]),
    )
    .action(async (options: EventsOptions) => setExitCode(await events(options)));
}

async function events({ control, bucket, app, follow, json, replay }: EventsOptions): Promise<number> {
  const isWanted = (event: ClusterEvent) => app === undefined || event.app === app;
  if (replay !== undefined) return replayFile(replay, isWanted, json === true);
  if (control === undefined) throw new UsageError('give --control URL, or --replay FILE');
  const show = (event: ClusterEvent) => {
    if (isWanted(event)) process.stdout.write(`${json ? JSON.stringify(event) : lineOf(event)}\n`);
  };
  return withControl({ control, bucket }, async (store) => {
    if (follow !== true) {
      for (const event of await listClusterEvents(store)) show(event);
      return ExitCode.OK;
    }
    return interruptible(async (signal) => {
      for await (const event of followClusterEvents(store, signal)) show(event);
    });
  });
}

function lineOf({ atMs, sequence, type, words }: ClusterEvent): string {
  return `${new Date(atMs).toISOString()} ${String(sequence).padStart(5)} ${type.padEnd(11)} ${words}`;
}

function replayFile(file: string, isWanted: (event: ClusterEvent) => boolean, isJson: boolean): number {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`);
  }
  const found = text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    try {
      return [JSON.parse(line) as ClusterEvent];
    } catch {
      throw new UsageError(`line ${i + 1} of ${file} is no JSON: --replay takes what events --json prints`);
    }
  });
  const { decisions, differing } = replayEvents(found.filter(isWanted));
  if (isJson) process.stdout.write(`${JSON.stringify({ schemaVersion: 1, decisions, differing })}\n`);
  else {
    for (const { sequence, words } of differing) process.stdout.write(`${sequence}: ${words}\n`);
    process.stdout.write(`${decisions} decisions made again, ${differing.length} differ\n`);
  }
  return differing.length === 0 ? ExitCode.OK : ExitCode.FAILURE;
}
