// The process of one stage instance: started by a supervisor, and gone when the supervisor is gone.
//
// Invariant: this process never outlives its parent (the kernel ends it), writes nothing to stdout, and leaves the
// decision what to do about a failure to the supervisor.
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { RdmaError } from '../core/errors.js';
import { StageRuntime, Workflow } from '../pipeline/index.js';
import { dieWithParent } from '../verbs/process.js';
import type { FromWorker, Routes, ToWorker, WorkerConfig } from './protocol.js';

const PROGRESS_INTERVAL_MS = 50;

let runtime: StageRuntime | undefined;
let routes: Routes = {};
let progressAt = 0;
let stopping = false;
let onRoutes: () => void = () => {};
let importModule: (url: string) => Promise<Record<string, unknown>>;
let onReady: () => void;

function tell(message: FromWorker): void {
  // Without a parent there is nobody to tell, and this process is about to end.
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

async function fail(error: unknown): Promise<never> {
  const known = error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_STAGE_FAILED', String(error));
  await new Promise<void>((resolve) => {
    if (!process.connected || process.send === undefined) resolve();
    else process.send({ type: 'failed', error: known.toJSON() }, undefined, undefined, () => resolve());
  });
  process.exit(1);
}

async function findWorkflow(config: WorkerConfig): Promise<Workflow> {
  let exports: Record<string, unknown>;
  try {
    exports = await importModule(pathToFileURL(config.module).href);
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_STAGE_FAILED', `${config.module} cannot be imported: ${String(cause)}`, { cause });
  }
  const candidates = [...Object.values(exports), ...Object.values(Object(exports.default))];
  for (const candidate of candidates) {
    if (candidate instanceof Workflow && candidate.name === config.workflow) {
      return candidate.withSizes(config.sizes);
    }
  }
  throw new RdmaError('RDMA_ERR_STAGE_FAILED', `${config.module} exports no workflow named ${config.workflow}`, {
    remedy: 'export it: workers import the module that the workflow names',
  });
}

async function start(config: WorkerConfig): Promise<void> {
  dieWithParent(config.parentPid);
  process.title = `onepiece ${config.runtime.stage}/${config.runtime.instance}`;
  const workflow = await findWorkflow(config);
  runtime = await StageRuntime.open({
    ...config.runtime,
    workflow,
    resolve: (target) => {
      const address = routes[target];
      if (address === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `${target} is not there yet`);
      return address;
    },
    onEvent: (event) => {
      if (event.type === 'progress') {
        const now = performance.now();
        if (now - progressAt < PROGRESS_INTERVAL_MS) return;
        progressAt = now;
      }
      if (event.type === 'failed') void fail(new RdmaError('RDMA_ERR_STAGE_FAILED', event.reason));
      else tell({ type: 'event', event });
    },
  });
  tell({ type: 'listening', address: runtime.address });
  // Those that are still starting are not away: the time to reconnect does not run for them.
  await whenRouted(runtime.targets);
  await runtime.connect();
  tell({ type: 'ready' });
  onReady();
}

function whenRouted(targets: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    onRoutes = () => {
      if (!targets.every((target) => routes[target] !== undefined)) return;
      onRoutes = () => {};
      resolve();
    };
    onRoutes();
  });
}

// The handler's own fault, and nobody else sees where it was.
function crash(error: unknown): void {
  process.stderr.write(`${process.title}: ${inspect(error)}\n`);
  void fail(error);
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  await runtime?.close();
  process.exit(0);
}

/**
 * Makes this process a worker: from now on it does what its supervisor says.
 *
 * @param load imports a module by its URL; who calls gives it, as a script that V8 had compiled before cannot import
 * @param ready called when the stage is connected, so that the code for that has run
 */
export function runWorker(load: typeof importModule, ready: () => void): void {
  importModule = load;
  onReady = ready;
  process.on('message', (message: ToWorker) => {
    if (message.type === 'routes') {
      routes = message.routes;
      onRoutes();
    } else if (message.type === 'stop') void stop();
    else start(message.config).catch((error) => (stopping ? undefined : fail(error)));
  });
  process.on('disconnect', () => process.exit(0));
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  // Ctrl-C reaches the whole process group; the parent decides what it means.
  process.on('SIGINT', () => {});
}
