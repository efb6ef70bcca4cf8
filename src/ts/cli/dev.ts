// `onepiece dev`: a workflow on this machine, all of a cluster in one process, reloaded when its file changes.
//
// Invariant: the first signal lets what runs finish, the second ends the process at once; either way no process of a
// stage is left.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { checkPromClient } from '../observe/prom-client.js';
import {
  type DevEvent,
  DevServer,
  type DevServerOptions,
  LIMITS,
  LOG_LEVELS,
  type LogLevel,
  openLog,
  type Service,
} from '../serve/index.js';
import { packageRoot } from '../addon/native.js';
import { asUsage, errorLine } from './exit.js';
import { amount, integer, startTimeout } from './options.js';
import { SignalLatch } from './signal-latch.js';

interface DevCommandOptions {
  export?: string;
  port: number;
  device: string;
  cores?: number;
  memory?: number;
  gpus: number;
  gpuMemory?: number;
  startTimeoutMs: number;
  drainMs: number;
  logLevel: LogLevel;
  json?: true;
}

const FAILURE_LOOK_MS = 1000;
const DRAIN_MS = 10_000;

export function devCommand(setExitCode: (code: number) => void): Command {
  const { min, max } = LIMITS.drainMs;
  return new Command('dev')
    .description('run a workflow on this machine, with HTTP and dashboard, and reload it when its file changes')
    .argument('<workflow>', '`demo`, or the path of a module that exports a workflow')
    .option('--export <name>', 'which workflow, when the module exports several')
    .option('--port <number>', 'the port; 0 for any that is free', integer(0, 65_535), 8080)
    .option('--device <name>', 'the RDMA device that carries the messages', 'soft0')
    .option('--cores <count>', 'cores for stages; default: all', integer(1, 65_536))
    .option('--memory <bytes>', 'memory for stages, such as 64G; default: all', amount)
    .option('--gpus <count>', 'how many GPUs stages may have', integer(0, 1024), 0)
    .option('--gpu-memory <bytes>', 'memory of each GPU, such as 80G', amount)
    .addOption(startTimeout('how long the stages may take to start'))
    .option('--drain-ms <ms>', 'how long what runs may take after a reload or a signal', integer(min, max), DRAIN_MS)
    .addOption(new Option('--log-level <level>', 'nothing below it is logged').choices(LOG_LEVELS).default('warn'))
    .option('--json', 'print one JSON document for each thing that happens')
    .action(async (workflow: string, options: DevCommandOptions) => setExitCode(await dev(workflow, options)));
}

async function dev(workflow: string, options: DevCommandOptions): Promise<number> {
  const { port, drainMs, device, cores, memory, gpus, gpuMemory, startTimeoutMs, json } = options;
  const has = {
    gpus: Array.from({ length: gpus }, () => ({ memoryBytes: gpuMemory ?? 0 })),
    ...(cores === undefined ? {} : { cores }),
    ...(memory === undefined ? {} : { memoryBytes: memory }),
  };
  const say = (words: string, document: object) =>
    process.stdout.write(json ? `${JSON.stringify({ schemaVersion: 1, ...document })}\n` : `${words}\n`);
  const complain = (error: Error) => process.stderr.write(`${errorLine(error)}\n`);
  const log = await openLog(options.logLevel);
  checkPromClient();
  const version: string = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version;
  const signal = new SignalLatch();
  let server: DevServer | undefined; // once it listens
  const starting = new AbortController();
  void signal.first.then(() => starting.abort());
  const how: DevServerOptions = {
    signal: starting.signal,
    exportName: options.export,
    port,
    drainMs,
    version,
    log,
    onEvent: (event) => tellReload(event, say, complain),
    cluster: {
      device,
      has,
      startTimeoutMs,
      onEvent: (event) => {
        if (event.type === 'trouble') complain(event.error);
        else if (event.type === 'restart' && server !== undefined) {
          const { stage, instance, reason } = event.restart;
          const words = `${stage}/${instance} ended (${reason}) and is replaced`;
          say(words, { event: 'restart', stage, instance, reason });
        }
      },
    },
  };
  try {
    server = await DevServer.start(workflow, how).catch((error) => {
      if (starting.signal.aborted) return undefined;
      return asUsage(error);
    });
    if (server === undefined) return (await signal.first)!;
    const running = server;
    const { url, service, cluster } = running;
    const { name } = service.workflow;
    for (const words of cluster.unplaced) process.stderr.write(`onepiece: ${words}\n`);
    const curl = curlLine(url, service);
    say(`${name} at ${url}, described at ${url}/docs; it follows its file\n${curl}`, {
      event: 'listening',
      url,
      workflow: name,
      pid: process.pid,
      curl,
    });
    const watch = setInterval(() => running.cluster.pipeline.error !== undefined && signal.release(), FAILURE_LOOK_MS);
    const code = await signal.first;
    clearInterval(watch);
    if (code === undefined) throw running.cluster.pipeline.error;
    await running.drain();
    return code;
  } finally {
    signal.close();
    await server?.close();
  }
}

function tellReload(
  event: DevEvent,
  say: (words: string, document: object) => void,
  complain: (error: Error) => void,
): void {
  const { type } = event;
  if (type === 'changed') say('the file has changed: the new code is being started', { event: type });
  else if (type === 'reloaded') {
    const { version, workflow } = event;
    say(`${workflow}: version ${version} takes the requests`, { event: type, version, workflow });
  } else if (type === 'kept') {
    const { version, error } = event;
    complain(error);
    say(`version ${version} goes on`, { event: type, version, code: error.code, reason: error.message });
  } else {
    const { version, isQuiet } = event;
    const words = isQuiet ? 'has ended' : 'was ended, though not all of its work was done';
    say(`version ${version} ${words}`, { event: type, version, isQuiet });
  }
}

function curlLine(url: string, { hasDemoPage }: Service): string {
  if (hasDemoPage) {
    const meta = `meta={"prompt":"slow push in"}`;
    return `curl -F picture=@photo.jpg -F '${meta}' '${url}/v1/run?output=assemble/clip' -o clip.webp`;
  }
  return `curl --json '{"meta":{}}' ${url}/v1/run`;
}
