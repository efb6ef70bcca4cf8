// What the tests of the observe layer share: a pipeline whose status a test writes, without processes.
//
// Invariant: what it answers is what a LocalPipeline answers; the types of both are the same.
import type {
  LocalPipelineStatus,
  SupervisionStatus,
  RequestWatcher,
  Restart,
  RestartTotal,
} from '../../src/ts/cluster/index.js';
import type { Observable } from '../../src/ts/observe/index.js';
import {
  checkSpec,
  type GatewayStatus,
  Latency,
  type LinkStatus,
  makePlan,
  type PlaceStatus,
  RdmaError,
  type RequestOptions,
  type StageInstanceStatus,
  type WorkflowSpec,
} from '../../src/ts/pipeline/index.js';
import { RequestWatch } from '../../src/ts/cluster/request-watch.js';

export const SPEC = checkSpec({
  name: 'image-to-video',
  stages: [
    { name: 'text-encode', instances: 1 },
    { name: 'image-encode', instances: 2 },
    { name: 'diffuse', after: ['text-encode', 'image-encode'], instances: 4, spread: 'shard', concurrency: 1 },
    { name: 'decode', after: ['diffuse', 'image-encode'], instances: 3, concurrency: 2 },
    { name: 'assemble', after: ['decode'], instances: 1 },
  ],
});

/** A latency from a list of times in microseconds; a time counts as often as it is listed. */
export function latencyOf(...times: number[]) {
  const latency = new Latency();
  for (const us of times) latency.add(us);
  return latency.status();
}

interface PlaceCounts {
  tasks?: number;
  failures?: number;
  running?: number;
  ready?: number;
  incarnation?: number;
  computeUs?: number[];
  queueUs?: number[];
  messages?: number;
}

/** A place that does not come back soon. */
export function brokenPlace(why: string): Partial<SupervisionStatus> {
  return { state: 'broken', reason: new RdmaError('RDMA_ERR_STAGE_FAILED', why) };
}

/** What a test says of a pipeline; everything else is at rest. */
export interface Scene {
  spec?: WorkflowSpec;
  places?: Record<string, PlaceCounts>;
  conditions?: Record<string, Partial<SupervisionStatus>>;
  /** Places that do not answer. */
  silent?: string[];
  queue?: Partial<GatewayStatus['queue']>;
  inFlight?: number;
  /** Messages by lane, `a/0 b/0`. */
  messages?: Record<string, number>;
}

function linkTo(target: string, messages: number): LinkStatus {
  return {
    target,
    backlog: 0,
    unacknowledged: 1,
    via: { device: 'soft0', why: 'shared memory' },
    outbox: {
      connected: true,
      draining: false,
      inPlace: true,
      sequence: messages,
      published: messages,
      acknowledged: messages,
      unacknowledgedMessages: 0,
      unacknowledgedBytes: 0,
      oldestUnacknowledgedMs: 0,
      laneMessages: 0,
      laneSlots: 64,
      laneBytes: 65536,
      payloadBytes: 0,
      waiting: 0,
      stalledBy: undefined,
      wakes: 0,
      counters: {
        messages,
        bytes: 1000 * messages,
        resent: 0,
        connects: 1,
        stalls: 0,
        inPlace: messages,
        spilled: 0,
        pulled: 0,
        aborted: 0,
      },
    },
  };
}

function placeStatus(name: string, incarnation: number, links: LinkStatus[], hops: PlaceStatus['hops']): PlaceStatus {
  return {
    name,
    incarnation,
    plans: [1],
    open: 0,
    incomplete: 0,
    early: 0,
    announced: 0,
    hops,
    links,
    inbox: undefined,
    poller: { inboxes: 1, outboxes: 1, wakes: 0, emptyWakes: 0, polls: 0, hits: 0, polledUs: 0, sleeps: 0 },
    pool: { registeredBytes: 2 ** 20, usedBytes: 0, blocks: 0, segments: 1 },
    others: {},
  };
}

const WORKS: SupervisionStatus = {
  state: 'ready',
  reason: undefined,
  startMs: undefined,
  restarts: 0,
  hangs: 0,
  taskTimeouts: 0,
  cancels: 0,
  poisons: 0,
};

/** The status of a pipeline in which a scene is played. */
export function statusOf(scene: Scene): LocalPipelineStatus {
  const { spec = SPEC, places = {}, conditions = {}, silent = [], messages = {} } = scene;
  const plan = makePlan(spec, 1);
  const stages: Record<string, StageInstanceStatus> = {};
  const supervision: Record<string, SupervisionStatus> = {};
  const namesOf = (index: number) =>
    plan.instances[index]!.map((instance) => `${spec.stages[index]!.name}/${instance}`);
  const receivers = (name: string) => {
    const next = spec.stages.flatMap(({ after }, i) => (after.includes(name) ? namesOf(i) : []));
    return next.length === 0 ? ['gateway/0'] : next;
  };
  const linksOf = (from: string, targets: string[]) =>
    targets.map((target) => linkTo(target, messages[`${from} ${target}`] ?? 0));
  for (const [index, { name, after }] of spec.stages.entries()) {
    for (const place of namesOf(index)) {
      const condition = { ...WORKS, ...conditions[place] };
      supervision[place] = condition;
      if (condition.state !== 'ready' || silent.includes(place)) continue;
      const counts = places[place] ?? {};
      const hops = Object.fromEntries(
        after.map((from) => [from, latencyOf(...(counts.queueUs ?? []).map((us) => us / 2))]),
      );
      stages[place] = {
        ...placeStatus(place, counts.incarnation ?? 1, linksOf(place, receivers(name)), hops),
        running: counts.running ?? 0,
        ready: counts.ready ?? 0,
        unsent: 0,
        tasks: counts.tasks ?? 0,
        failures: counts.failures ?? 0,
        queueTimes: latencyOf(...(counts.queueUs ?? [])),
        computeTimes: latencyOf(...(counts.computeUs ?? [])),
        droppedPreviews: 0,
        batches: undefined,
      };
    }
  }
  const entry = spec.stages.flatMap(({ after }, i) => (after.includes('request') ? namesOf(i) : []));
  const queue: GatewayStatus['queue'] = {
    requests: 0,
    bytes: 0,
    oldestMs: 0,
    tenants: [],
    rejected: {},
    hopeless: 0,
    reservations: { count: 0, keptShare: 0 },
    ...scene.queue,
  };
  const last = spec.stages.at(-1)!.name;
  const gateway: GatewayStatus = {
    ...placeStatus('gateway/0', 7, linksOf('gateway/0', entry), { [last]: latencyOf() }),
    queued: queue.requests,
    inFlight: scene.inFlight ?? 0,
    queue,
    instances: [],
    costs: [],
    forecasts: 0,
    meanError: undefined,
    served: [],
  };
  const memory = { lanes: 40, laneBytes: 40 * 2 ** 20, processes: 11, processBytes: 11 * 2 ** 24 };
  for (const [place, condition] of Object.entries(conditions)) supervision[place] = { ...WORKS, ...condition };
  return { plan, gateway, stages, memory, supervision };
}

/** A pipeline that says what a test wants it to say. */
export class ScenePipeline implements Observable {
  readonly workflow: { spec: WorkflowSpec };
  readonly device = 'soft0';
  readonly restarts: Restart[] = [];
  readonly restartTotals: RestartTotal[] = [];
  /** How often it was asked. */
  asked = 0;
  private readonly watch = new RequestWatch();
  private readonly next: () => Scene | Promise<Scene>;

  constructor(next: () => Scene | Promise<Scene>, spec: WorkflowSpec = SPEC) {
    this.next = next;
    this.workflow = { spec };
  }

  async status(): Promise<LocalPipelineStatus> {
    this.asked++;
    return statusOf({ spec: this.workflow.spec, ...(await this.next()) });
  }

  watchRequests(watcher: RequestWatcher): () => void {
    return this.watch.add(watcher);
  }

  get isWatched(): boolean {
    return this.watch.isWatched;
  }

  /** A request as run() would do it. */
  run(options: RequestOptions, work: Parameters<RequestWatch['run']>[1]) {
    return this.watch.run(options, work);
  }
}
