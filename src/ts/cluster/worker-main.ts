// The process of one stage instance: a supervisor starts it, and it ends with the supervisor.
//
// Invariant: this process never outlives its parent (the kernel ends it), writes nothing to stdout, and leaves it to
// the supervisor what to do about a failure.
import { closeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { Adoptions } from './adoptions.js';
import type { Moment } from './code-cache.js';
import { TlsIdentity } from '../connect/index.js';
import { RdmaError } from '../core/errors.js';
import {
  type GpuAddress,
  graphOf,
  isWorkflow,
  type Plan,
  type StageCode,
  StageInstance,
  type StageInstanceStatus,
  stageIndex,
  type PipelinePort,
  pipelinePort,
  TaskBoard,
  type Workflow,
  type WorkflowSpec,
  type PlaceAddress,
} from '../pipeline/index.js';
import { Poller } from '../ring/index.js';
import { dieWithParent } from '../verbs/process.js';
import { mapSharedMemory } from '../verbs/shared-memory.js';
import {
  BOARD_BYTES,
  BOARD_FD,
  type FromWorker,
  type Routes,
  type ToWorker,
  unwrap,
  type WorkerConfig,
  wrap,
} from './protocol.js';
import { PythonStage } from './python/python-stage.js';
import { specDifference } from './spec-difference.js';
import { markStageProcess } from './stage-process.js';

let instance: StageInstance | undefined;
let opening: Promise<StageInstance> | undefined;
let python: PythonStage | undefined;
let pythonReady: Promise<void> | undefined;
let routes: Routes = {};
let stopping = false;
let viasDue = false;
let gpu: GpuAddress | undefined;
const adoptions = new Adoptions();
const gone: string[] = []; // places that were lost before it was open
let openedWith: WorkerConfig | undefined;
let routeWaiters: (() => void)[] = [];
let importModule: (url: string) => Promise<Record<string, unknown>>;
let keepCode: (moment: Moment) => void;

function tell(message: FromWorker): void {
  // Without a parent there is nobody to tell, and this process is about to end.
  if (process.connected) process.send?.(wrap(message), undefined, undefined, () => {});
}

async function fail(error: unknown): Promise<never> {
  const known = error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_STAGE_FAILED', String(error));
  await new Promise<void>((resolve) => {
    if (!process.connected || process.send === undefined) resolve();
    else process.send(wrap({ type: 'failed', error: known.toJSON() }), undefined, undefined, () => resolve());
  });
  process.exit(1);
}

// Many links are made in one turn: one message for all.
function tellVias(): void {
  if (viasDue) return;
  viasDue = true;
  setImmediate(() => {
    viasDue = false;
    if (instance !== undefined) tell({ type: 'vias', vias: instance.vias });
  });
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
    if (isWorkflow(candidate) && candidate.name === config.workflow) {
      checkSameSpec(config, candidate.spec);
      return candidate.withSizes(config.sizes);
    }
  }
  throw new RdmaError('RDMA_ERR_STAGE_FAILED', `${config.module} exports no workflow named ${config.workflow}`, {
    remedy: 'export it: workers import the module that the workflow names',
  });
}

function checkSameSpec({ workflow, module, spec }: WorkerConfig, own: WorkflowSpec): void {
  const difference = specDifference(spec, own);
  if (difference === undefined) return;
  const text = `workflow ${workflow} of ${module} is another one than the pipeline was started with: ${difference}`;
  throw new RdmaError('RDMA_ERR_STAGE_FAILED', text, {
    remedy: 'start the pipeline again, or put the module back as it was',
  });
}

async function start(config: WorkerConfig): Promise<StageInstance> {
  const { stage, plan, olderPlans, device, otherDevices, listenHost, secret, pollUs, reconnectMs, incarnation } =
    config;
  dieWithParent(config.parentPid);
  process.title = `onepiece ${stage}/${config.instance}`;
  markStageProcess(`${stage}/${config.instance}`);
  routes = config.routes;
  const board = openBoard();
  const workflow = await findWorkflow(config);
  const { spec } = workflow;
  const port = pipelinePort(config.tlsDir === undefined ? undefined : TlsIdentity.read(config.tlsDir));
  const poller = new Poller({ pollUs, clock: port.clock });
  const code = findCode(workflow, config, port, poller);
  const opened = await StageInstance.open({
    port,
    graph: graphOf(spec),
    self: { stage: stageIndex(spec, stage), instance: config.instance },
    incarnation,
    plan,
    olderPlans,
    device,
    otherDevices,
    listenHost,
    secret,
    pollUs,
    poller,
    reconnectMs,
    resolve: whereIs,
    onVia: tellVias,
    board,
    barred: config.barred,
    suspects: config.suspects,
    ...code,
    onFailed: (reason) => void fail(reason),
  });
  instance = opened;
  openedWith = config;
  if (python !== undefined) python.inlineBytes = opened.inlineBytes;
  tellAddress();
  giveUp([...config.gone, ...gone]);
  await pythonReady;
  await opened.connect();
  for (const { request, code, message } of config.failures) opened.failRequest(request, { code, message });
  tell({ type: 'ready' });
  keepCode('started');
  return opened;
}

// Python starts while the inbox opens.
function findCode(workflow: Workflow, config: WorkerConfig, port: PipelinePort, poller: Poller): StageCode {
  const spec = workflow.get(config.stage);
  if (spec.python === undefined) return workflow.code(config.stage);
  const { instance, module, heartbeatMs, pollUs } = config;
  const world = { memory: port.location.memory, addressOf: (place: string) => routes[place], announce };
  python = new PythonStage({
    stage: spec,
    instance,
    module,
    heartbeatMs,
    pollUs,
    poller,
    world,
    onFailed: onFailure,
  });
  pythonReady = python.start();
  pythonReady.catch(() => {}); // waited for later
  return python.code;
}

// Of its first Python process, and of each that takes its place.
function announce(offer: GpuAddress): void {
  gpu = offer;
  tellAddress();
}

function tellAddress(): void {
  if (instance === undefined) return; // it announces itself when it listens
  tell({ type: 'listening', address: gpu === undefined ? instance.address : { ...instance.address, gpu } });
}

// What a handler starts shall not inherit the descriptor.
function openBoard(): TaskBoard {
  const buffer = mapSharedMemory(BOARD_FD, BOARD_BYTES);
  closeSync(BOARD_FD);
  return new TaskBoard(buffer);
}

// Where a place is; while it is being replaced, as soon as it is there again.
function whereIs(target: string): PlaceAddress | Promise<PlaceAddress> {
  const address = routes[target];
  if (address !== undefined) return address;
  return new Promise((resolve) => {
    const review = () => {
      const found = routes[target];
      if (found !== undefined) resolve(found);
      else routeWaiters.push(review);
    };
    routeWaiters.push(review);
  });
}

function setRoutes(newer: Routes): void {
  routes = newer;
  const waiters = routeWaiters;
  routeWaiters = [];
  for (const review of waiters) review();
  instance?.reviewAddresses();
}

// They do not come back: nothing waits for them.
function giveUp(places: readonly string[]): void {
  if (instance === undefined) {
    gone.push(...places); // it is being opened
    return;
  }
  const { spec } = openedWith!;
  for (const name of places) {
    const [stage, number] = name.split('/');
    instance.giveUp({ stage: stageIndex(spec, stage!), instance: Number(number) }).catch(onFailure);
  }
}

async function adopt(plan: Plan): Promise<void> {
  await adoptions.adopt(plan.number, async () => {
    await (await opening)?.adopt(plan);
    // A plan that came to nothing may be let go of before all of its places were found.
    return async () => (await opening)?.retire(plan.number);
  });
  tell({ type: 'adopted', number: plan.number });
}

async function retire(number: number): Promise<void> {
  adoptions.retired(number);
  await (await opening)?.retire(number);
}

// The handler's own fault, and nobody else sees where it was.
function crash(error: unknown): void {
  process.stderr.write(`${process.title}: ${inspect(error)}\n`);
  void fail(error);
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  const hasWorked = (instance?.status().tasks ?? 0) > 0;
  await instance?.close();
  await python?.close();
  if (hasWorked) keepCode('worked');
  process.exit(0);
}

function statusOf(opened: StageInstance): StageInstanceStatus {
  const status = opened.status();
  return python === undefined ? status : { ...status, python: python.status() };
}

function onFailure(error: unknown): void {
  if (!stopping) void fail(error);
}

function onMessage(received: unknown): void {
  const message = unwrap<ToWorker>(received);
  switch (message?.type) {
    case 'start':
      opening = start(message.config);
      opening.catch(onFailure);
      break;
    case 'routes':
      setRoutes(message.routes);
      break;
    case 'gone':
      giveUp(message.places);
      break;
    case 'adopt':
      adopt(message.plan).catch(onFailure);
      break;
    case 'retire':
      retire(message.number).catch(onFailure);
      break;
    case 'ended':
      instance?.endRequest(message.request);
      break;
    case 'suspects':
      instance?.setSuspects(message.requests);
      break;
    case 'status':
      if (instance !== undefined) tell({ type: 'status', id: message.id, status: statusOf(instance) });
      break;
    case 'stop':
      void stop();
  }
}

// The parent has ended. The kernel says so too (dieWithParent), but only after it has closed the channel: a process
// that ended by itself in between would leave what its handlers have started.
function endWithParent(): void {
  try {
    process.kill(-process.pid, 'SIGKILL');
  } catch {
    process.exit(0); // it leads no group
  }
}

/**
 * Makes this process a worker: from now on it does what its supervisor says.
 *
 * @param load imports a module by its URL; the caller gives it, as a script that V8 had compiled before cannot import
 * @param keep keeps what V8 has compiled: called when the stage is connected, and when it ends after it has worked
 */
export function runWorker(load: typeof importModule, keep: (moment: Moment) => void): void {
  importModule = load;
  keepCode = keep;
  process.on('message', onMessage);
  process.on('disconnect', endWithParent);
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  // Whoever sends it to every process of a program means the parent, which decides.
  process.on('SIGINT', () => {});
}
