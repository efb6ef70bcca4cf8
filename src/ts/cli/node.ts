// `onepiece node`: a node of a cluster, until a signal ends it.
//
// Invariant: the first signal empties the node (its places go on elsewhere, what runs ends), the second ends it at
// once.
import os from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { Controller, drainNode, type GpuMovePolicy, NodeManager } from '../cluster/index.js';
import { gpuPolicyOf } from '../cluster/gpu-policy.js';
import { type ControlOptions, controlOptions, openControl, readSecret } from './cluster-options.js';
import { asUsage, errorLine } from './exit.js';
import { amount, integer, names, startTimeout } from './options.js';
import { SignalLatch } from './signal-latch.js';

interface NodeCommandOptions extends ControlOptions {
  name?: string;
  secretFile: string;
  devices?: string[];
  device?: string[];
  address?: string;
  tlsDir?: string;
  cores?: number;
  memory?: number;
  gpus: number;
  gpuMemory?: number;
  label?: Record<string, string>;
  leaseMs: number;
  startTimeoutMs: number;
  drainMs: number;
  controller: boolean;
  gpuMoves?: Partial<GpuMovePolicy> | false;
  json?: true;
}

const LOOK_MS = 100;

export function nodeCommand(setExitCode: (code: number) => void): Command {
  return controlOptions(new Command('node'))
    .description('run a node of a cluster: it runs the places that the plan gives it')
    .requiredOption('--secret-file <file>', 'the secret of the cluster; chmod 600')
    .option('--name <name>', 'its name in the cluster; default: that of the host, and the process')
    .option(
      '--devices <names>',
      'the devices that carry the messages, with commas between; default: all that work',
      names,
    )
    .addOption(new Option('--device <name>', 'the same, of one device').argParser(names).conflicts('devices'))
    .option('--address <ip>', 'the address of this host that other hosts reach; default: they reach nothing here')
    .option('--tls-dir <folder>', 'the certificate of this node (onepiece cluster init): places connect by TLS')
    .option('--cores <count>', 'cores for stages; default: all', integer(1, 65_536))
    .option('--memory <bytes>', 'memory for stages, such as 64G; default: all', amount)
    .option('--gpus <count>', 'how many GPUs it has', integer(0, 1024), 0)
    .option('--gpu-memory <bytes>', 'memory of each GPU, such as 80G', amount)
    .option('--label <key=value>', 'what stages may ask for; several times', collectLabel)
    .option('--lease-ms <ms>', 'after how long without a sign it counts as lost', integer(200, 600_000), 3000)
    .addOption(startTimeout('how long a stage may take to start, with its model; the node then starts it again'))
    .option('--drain-ms <ms>', 'how long its work may take to end after a signal', integer(0, 86_400_000), 30_000)
    .option('--no-controller', 'it never leads the cluster')
    .option(
      '--gpu-moves <settings>',
      'how GPUs go from stage to stage where there are too few, such as perWindow=8,windowMs=600000; or off',
      gpuMoves,
    )
    .option('--json', 'print one JSON document for each thing that happens')
    .action(async (options: NodeCommandOptions) => setExitCode(await runNode(options)));
}

function collectLabel(text: string, labels: Record<string, string> = {}): Record<string, string> {
  const [, key, value] = /^([^=\s]+)=(\S+)$/.exec(text) ?? [];
  if (key === undefined) throw new InvalidArgumentError('Give key=value.');
  return { ...labels, [key]: value! };
}

function gpuMoves(text: string): Partial<GpuMovePolicy> | false {
  if (text === 'off') return false;
  const settings = text.split(',').map((item) => {
    const [, name, value] = /^\s*(\w+)=(\d+(?:\.\d+)?)\s*$/.exec(item) ?? [];
    if (name === undefined) throw new InvalidArgumentError('Give NAME=NUMBER with commas between, or off.');
    return [name, Number(value)] as const;
  });
  try {
    return gpuPolicyOf(Object.fromEntries(settings));
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

async function runNode(options: NodeCommandOptions): Promise<number> {
  const { secretFile, address, tlsDir, leaseMs, startTimeoutMs, drainMs, gpus, gpuMemory } = options;
  const { cores, memory, label, json } = options;
  const secret = readSecret(secretFile);
  const devices = options.devices ?? options.device;
  const name = options.name ?? `${os.hostname().replaceAll(/[^-=\w]/g, '-')}-${process.pid}`;
  const has = {
    gpus: Array.from({ length: gpus }, () => ({ memoryBytes: gpuMemory ?? 0 })),
    ...(cores === undefined ? {} : { cores }),
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    ...(label === undefined ? {} : { labels: label }),
  };
  const say = (words: string, document: object) =>
    process.stdout.write(json ? `${JSON.stringify({ schemaVersion: 1, node: name, ...document })}\n` : `${words}\n`);
  const complain = (error: Error) => process.stderr.write(`${errorLine(error)}\n`);
  const store = await openControl(options);
  const signal = new SignalLatch();
  let controller: Controller | undefined;
  let node: NodeManager | undefined;
  try {
    node = await NodeManager.start(store, {
      name,
      secret,
      ...(devices === undefined ? {} : { devices }),
      address,
      tlsDir,
      has,
      leaseMs,
      startTimeoutMs,
      onEvent: (event) => {
        if (event.type === 'joined')
          say(`${name} has joined the cluster with ${event.devices.join(', ')}`, {
            event: 'joined',
            pid: process.pid,
            devices: event.devices,
          });
        else if (event.type === 'trouble') complain(event.error);
        else {
          const { stage, instance, reason } = event.restart;
          const words = `${event.app}: ${stage}/${instance} ended (${reason}) and is replaced`;
          say(words, { event: 'restart', app: event.app, stage, instance, reason });
        }
      },
    }).catch(asUsage);
    if (options.controller) {
      controller = new Controller(store, {
        name,
        leaseMs,
        gpuMoves: options.gpuMoves,
        onEvent: (event) => {
          if (event.type === 'leading')
            say(`${name} leads in term ${event.term}`, { event: 'leading', term: event.term });
          else if (event.type === 'following') say(`${name} leads no more`, { event: 'following' });
          else if (event.type === 'trouble') complain(event.error);
          else {
            const { plan, unplaced } = event.record;
            const words = `${event.app}: plan ${plan?.number ?? 'none'}${unplaced.map((each) => `; ${each}`).join('')}`;
            say(words, { event: 'plan', app: event.app, number: plan?.number ?? null, unplaced });
          }
        },
      });
    }
    const code = (await signal.first)!; // nobody releases it
    process.stderr.write(`${name} ends when its work has, in ${drainMs} ms at most; a second signal ends it at once\n`);
    await drain(node, () => drainNode(store, name), drainMs);
    return code;
  } finally {
    signal.close();
    await node?.close();
    await drainNode(store, name, false).catch(() => {});
    await controller?.close();
    await store.close();
  }
}

// Until nothing runs on it, or the time is over.
async function drain(node: NodeManager, begin: () => Promise<void>, drainMs: number): Promise<void> {
  await begin().catch(() => {});
  const endMs = performance.now() + drainMs;
  while (node.processes.length > 0 && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
