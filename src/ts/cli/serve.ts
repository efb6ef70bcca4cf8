// `onepiece serve`: a workflow over HTTP, until a signal ends it.
//
// Invariant: the first signal refuses new work and lets what runs finish; the second ends the process at once. Either
// way the exit code names the signal.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import {
  ClusterMetrics,
  ClusterObserver,
  clusterPlugin,
  Observer,
  observePlugin,
  openSpans,
} from '../observe/index.js';
import { checkPromClient } from '../observe/prom-client.js';
import type { FastifyInstance } from '../serve/fastify.js';
import {
  checkServerOptions,
  LIMITS,
  type LimitName,
  loadService,
  LOG_LEVELS,
  type LogLevel,
  openLog,
  type ServerLimits,
  serve,
  type ServedPipeline,
  servePipeline,
  type Serving,
  Tokens,
} from '../serve/index.js';
import { defaultStoreFolder, type JobStore, lmdbStore, memoryStore, redisStore } from '../jobs/index.js';
import { packageRoot } from '../addon/native.js';
import { ClusterPipeline } from '../cluster/index.js';
import type { ControlStore } from '../control/index.js';
import { openControl, readSecret } from './cluster-options.js';
import { UsageError } from './exit.js';
import { integer, names, startTimeout } from './options.js';
import { SignalLatch } from './signal-latch.js';

interface ServeCommandOptions extends ServerLimits {
  export?: string;
  host: string;
  port: number;
  tokensFile?: string;
  name?: string[];
  cancelOnDisconnect: boolean;
  device?: string[];
  address?: string;
  tlsDir?: string;
  maxQueued: number;
  leaseMs: number;
  startTimeoutMs: number;
  store?: string;
  redis?: string;
  control?: string;
  bucket: string;
  gatewayLeaseMs: number;
  controlTimeoutMs?: number;
  secretFile?: string;
  memory?: true;
  logLevel: LogLevel;
  json?: true;
}

const FAILURE_LOOK_MS = 1000;
const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

export function serveCommand(setExitCode: (code: number) => void): Command {
  const command = new Command('serve')
    .description('serve a workflow over HTTP: jobs, events, results; /docs describes the interface')
    .argument('<workflow>', '`demo`, or the path of a module that exports a workflow')
    .option('--export <name>', 'which workflow, when the module exports several')
    .option('--host <address>', 'where to listen; an address that others reach needs --tokens-file', '127.0.0.1')
    .option('--port <number>', 'the port; 0 for any that is free', integer(0, 65_535), 8080)
    .option('--tokens-file <file>', 'who may ask: a line for each, TENANT TOKEN [MAX-PRIORITY] [operator]')
    .option('--name <name>', 'a name that the server is asked under, beside its address', collect)
    .option('--no-cancel-on-disconnect', 'POST /v1/run goes on when its client is gone')
    .option(
      '--device <names>',
      'the device that carries the messages; with --control several, with commas between',
      names,
    )
    .option('--address <ip>', 'with --control: the address of this host that other hosts reach')
    .option('--tls-dir <folder>', 'with --control: the certificate of this node (onepiece cluster init)')
    .option('--max-queued <count>', 'requests that may wait to be admitted, 0 to 65536', integer(0, 65_536), 256)
    .option('--lease-ms <ms>', 'others take the jobs over after so long', integer(100, 3_600_000), 10_000)
    .addOption(startTimeout('how long the stages may take to start, with their models'))
    .addOption(
      new Option('--store <folder>', `where jobs and results are kept; default ${defaultStoreFolder()}`).conflicts([
        'redis',
        'memory',
      ]),
    )
    .addOption(new Option('--redis <url>', 'keep them in Redis, which several servers may share').conflicts('memory'))
    .option('--memory', 'keep them in memory only: they end with the server')
    .addOption(new Option('--log-level <level>', 'nothing below it is logged').choices(LOG_LEVELS).default('info'))
    .option('--control <url>', 'serve what is deployed to a cluster: the address of its nats-server')
    .option('--bucket <name>', 'with --control: the key-value bucket of the cluster', 'onepiece')
    .option('--secret-file <file>', 'with --control: the secret of the cluster; chmod 600')
    .option(
      '--gateway-lease-ms <ms>',
      'with --control: after how long without a sign the cluster counts it as lost',
      integer(200, 600_000),
      3000,
    )
    .option(
      '--control-timeout-ms <ms>',
      'with --control: how long nats-server may take for an answer; at most a third of --gateway-lease-ms (1000)',
      integer(50, 60_000),
    )
    .option('--json', 'print one JSON document when it listens');
  for (const name of Object.keys(LIMITS) as LimitName[]) {
    const { about, default: fallback, min, max } = LIMITS[name];
    command.option(`--${kebab(name)} <number>`, about, integer(min, max), fallback);
  }
  return command.action(async (workflow: string, options: ServeCommandOptions) =>
    setExitCode(await serveUntilSignal(workflow, options)),
  );
}

function collect(name: string, names: string[] = []): string[] {
  if (!/^[A-Za-z0-9.:-]{1,253}$/.test(name)) throw new InvalidArgumentError('Give a host name.');
  return [...names, name];
}

async function serveUntilSignal(workflow: string, options: ServeCommandOptions): Promise<number> {
  const { export: exportName, device, maxQueued, leaseMs, store: folder, redis, memory, ...others } = options;
  const { logLevel, json, tokensFile, name, control, bucket, secretFile, address, ...rest } = others;
  const { tlsDir, startTimeoutMs, gatewayLeaseMs, controlTimeoutMs, ...server } = rest;
  const [first = 'soft0', ...more] = device ?? [];
  if (control === undefined && (more.length > 0 || address !== undefined || tlsDir !== undefined))
    throw new UsageError('several devices, --address and --tls-dir are for --control: one host needs one device');
  if ((control === undefined) !== (secretFile === undefined))
    throw new UsageError('--control and --secret-file go together');
  const service = await loadService(workflow, exportName).catch(asUsage);
  const tokens = tokensFile === undefined ? undefined : await read(tokensFile);
  try {
    checkServerOptions({ ...server, ...(tokens === undefined ? {} : { tokens }) });
  } catch (error) {
    asUsage(error);
  }
  const log = await openLog(logLevel);
  checkPromClient();
  const version: string = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version;
  const spans = openSpans(service.workflow.spec, version);
  const signal = new SignalLatch();
  const secret = control === undefined ? undefined : readSecret(secretFile!);
  const store = await openStore(folder, redis, memory);
  let cluster: ControlStore | undefined;
  try {
    const common = {
      ...server,
      ...(tokens === undefined ? {} : { tokens }),
      ...(name === undefined ? {} : { names: name }),
      version,
      spans,
      log,
    };
    let serving: Serving<ServedPipeline>;
    if (control === undefined || secret === undefined) {
      serving = await serve(service, {
        ...common,
        pipeline: { device: first, maxQueued, leaseMs, startTimeoutMs, store },
        routes: async (app, pipeline) => {
          await (app as FastifyInstance).register(observePlugin(Observer.attach(pipeline, { spans })));
        },
      }).catch(asUsage);
    } else {
      cluster = await openControl({ control, bucket, ...(controlTimeoutMs === undefined ? {} : { controlTimeoutMs }) });
      const { name: app } = service.workflow;
      const devices = device === undefined ? {} : { devices: device };
      const leases = { leaseMs: gatewayLeaseMs, jobLeaseMs: leaseMs };
      const how = { app, secret, address, tlsDir, maxQueued, startTimeoutMs, ...leases, store, ...devices };
      const pipeline = await ClusterPipeline.connect(cluster, how).catch(asUsage);
      const observer = new ClusterObserver(app, cluster, pipeline);
      const metrics = new ClusterMetrics(pipeline);
      serving = await servePipeline(pipeline, service, {
        ...common,
        isDurable: store.isDurable,
        routes: async (server) => {
          await (server as FastifyInstance).register(clusterPlugin(observer, { metrics }));
        },
      });
    }
    const { url, pipeline } = serving;
    const { name: title } = service.workflow;
    const document = { schemaVersion: 1, url, workflow: title, pid: process.pid };
    process.stdout.write(json ? `${JSON.stringify(document)}\n` : `${title} at ${url}, described at ${url}/docs\n`);
    const watch = setInterval(() => pipeline.error !== undefined && signal.release(), FAILURE_LOOK_MS);
    const code = await signal.first;
    clearInterval(watch);
    if (code !== undefined) {
      await serving.drain();
      return code;
    }
    const { error } = pipeline;
    await serving.close();
    throw error;
  } finally {
    signal.close();
    await store.close();
    await cluster?.close();
  }
}

function openStore(folder: string | undefined, redis: string | undefined, memory: true | undefined): Promise<JobStore> {
  if (memory) return Promise.resolve(memoryStore());
  return redis === undefined ? lmdbStore(folder ?? defaultStoreFolder()) : redisStore(redis);
}

const read = async (file: string) => {
  try {
    return Tokens.read(file);
  } catch (error) {
    return asUsage(error);
  }
};

// What the person who typed the command has to change.
function asUsage(error: unknown): never {
  const { code, message } = error as { code?: string; message: string };
  if (code === 'RDMA_ERR_INVALID_ARGUMENT' || code === 'RDMA_ERR_UNAUTHENTICATED') throw new UsageError(message);
  throw error;
}
