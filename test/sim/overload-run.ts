// A whole pipeline under more load than it can bear, in virtual time: real gateway, queue, admission and stages.
//
// Invariant: arrivals do not wait for answers, and each is counted by how it ended.
import {
  checkSpec,
  Gateway,
  graphOf,
  makePlan,
  type RequestOptions,
  StageInstance,
  type PlaceAddress,
} from '../../src/ts/pipeline/index.js';
import { RdmaError } from '../../src/ts/core/errors.js';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { simPipelinePort } from '../../src/ts/sim/port.js';
import { SimWorld } from '../../src/ts/sim/world.js';
import { catching } from './catching.js';

/** What a stage of the load does. */
export interface LoadedStage {
  readonly instances: number;
  readonly concurrency: number;
  /** How long a task takes, in ms, drawn evenly. */
  readonly ms: readonly [number, number];
}

/** Requests that come at random times. */
export interface Stream {
  readonly perSecond: number;
  readonly options: RequestOptions;
}

/** How the requests of one stream have ended. */
export interface StreamResult {
  offered: number;
  inTime: number;
  /** Taken, and not answered in time. */
  late: number;
  rejected: number;
  /** In ms. */
  readonly tookMs: number[];
  /** |actual - expected| / actual. */
  readonly errors: number[];
}

export interface OverloadRun {
  readonly seed: number;
  readonly stages: readonly LoadedStage[];
  readonly streams: readonly Stream[];
  /** Virtual. */
  readonly seconds: number;
  readonly maxQueued?: number;
  /** A refused caller comes once more, at the time that it got. */
  readonly comeBack?: boolean;
}

/** Tasks of so many ms so many at a time: requests a second that the slowest stage can do. */
export function capacityOf(stages: readonly LoadedStage[]): number {
  return Math.min(
    ...stages.map(({ instances, concurrency, ms: [low, high] }) => (instances * concurrency * 2000) / (low + high)),
  );
}

/** Plays a run; what is counted begins after the first virtual second. */
export async function overload(run: OverloadRun): Promise<{
  results: StreamResult[];
  gateway: Gateway;
  broken: string[];
  firstRetries: { tried: number; admitted: number };
}> {
  const choices = new SeededChoices(run.seed);
  const world = new SimWorld(choices, {
    copier: 'process',
    tearShare: 0,
    weakOrder: false,
    pollBatch: 16,
    oneWriter: true,
  });
  const names = run.stages.map((_, i) => `stage-${i}`);
  const stages = run.stages.map(({ instances, concurrency }, i) => {
    return {
      name: names[i]!,
      after: [i === 0 ? 'request' : names[i - 1]!],
      instances,
      concurrency,
      maxOutputBytes: 1024,
    };
  });
  const spec = checkSpec({ name: 'overload', maxRequestBytes: 1024, stages });
  const graph = graphOf(spec);
  const plan = makePlan(spec, 1);
  const addresses = new Map<string, PlaceAddress>();
  const resolve = (target: string) => {
    const address = addresses.get(target);
    if (address === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `${target} is not there yet`);
    return address;
  };
  const results = run.streams.map((): StreamResult => {
    return { offered: 0, inTime: 0, late: 0, rejected: 0, tookMs: [], errors: [] };
  });
  const firstRetries = { tried: 0, admitted: 0 };
  let gateway: Gateway | undefined;
  let [ready, open] = [0, 0];
  const sizes = { residentRequests: 64, slots: 16, inlineBytes: 1024, laneMessages: 8, poolBytes: 2 ** 17 };
  const base = {
    graph,
    plan,
    incarnation: 1,
    device: 'sim0',
    secret: 'simulated',
    pollUs: 0,
    reconnectMs: 1e6,
    resolve,
    sizes,
  };
  const onFailed = (reason: Error) => void world.broken.push(`a place has failed: ${reason.message}`);
  const begin = (
    name: string,
    start: (
      port: ReturnType<typeof simPipelinePort>,
      later: (ms: number, call: () => void) => void,
    ) => Promise<{ address: PlaceAddress; connect(): Promise<void> }>,
  ) => {
    const process = world.process(name);
    process.later(0, () => {
      start(simPipelinePort(world, process), (ms, call) => void process.later(ms, call)).then((place) => {
        addresses.set(name, place.address);
        void place.connect().then(() => ready++, onFailed);
      }, onFailed);
    });
    return process;
  };
  run.stages.forEach(({ instances, ms: [low, high] }, stage) => {
    for (let instance = 0; instance < instances; instance++) {
      begin(`${names[stage]}/${instance}`, (port, later) =>
        StageInstance.open({
          ...base,
          port,
          self: { stage, instance },
          handler: () => new Promise((done) => later(low + (high - low) * choices.fraction(), () => done({}))),
          onFailed,
        }),
      );
    }
  });
  const process = begin('gateway/0', async (port) => {
    gateway = await Gateway.open({
      ...base,
      port,
      self: { stage: -1, instance: 0 },
      maxInFlight: 1024,
      maxQueued: run.maxQueued ?? 4096,
      onFailed,
    });
    return gateway;
  });
  const now = () => world.scheduler.nowMs;
  const send = ({ options }: Stream, result: StreamResult) => {
    const atMs = now();
    const counts = atMs >= 1000;
    open++;
    if (counts) result.offered++;
    gateway!.run({}, options).then(
      ({ expectedMs }) => {
        open--;
        if (!counts) return;
        const tookMs = now() - atMs;
        result.tookMs.push(tookMs);
        if (tookMs <= (options.timeoutMs ?? Number.POSITIVE_INFINITY) + 1) result.inTime++;
        else result.late++;
        if (expectedMs !== undefined) result.errors.push(Math.abs(tookMs - expectedMs) / tookMs);
      },
      (error: RdmaError) => {
        open--;
        const { retryAfterMs, retryToken = '' } = error;
        if (run.comeBack === true && retryAfterMs !== undefined) {
          open++;
          process.later(retryAfterMs * (1 + 0.1 * choices.fraction()), () => {
            firstRetries.tried++;
            gateway!.run({}, { ...options, retryToken }).then(
              () => {
                firstRetries.admitted++;
                open--;
              },
              ({ code }: RdmaError) => {
                if (code !== 'RDMA_ERR_REJECTED') firstRetries.admitted++;
                open--;
              },
            );
          });
        }
        if (error.code === 'RDMA_ERR_REJECTED') result.rejected += counts ? 1 : 0;
        else if (error.code === 'RDMA_ERR_DEADLINE') result.late += counts ? 1 : 0;
        else world.broken.push(`a request failed: ${error.message}`);
      },
    );
  };
  const endMs = 1000 * (run.seconds + 1);
  const arrive = (stream: Stream, result: StreamResult) => {
    const gapMs = (-Math.log(1 - choices.fraction()) * 1000) / stream.perSecond;
    process.later(gapMs, () => {
      if (now() >= endMs) return;
      send(stream, result);
      arrive(stream, result);
    });
  };
  await catching(world, async () => {
    const places = run.stages.reduce((sum, { instances }) => sum + instances, 1);
    await world.scheduler.run(() => world.broken.length > 0 || ready === places, 60_000);
    for (const [i, stream] of run.streams.entries()) arrive(stream, results[i]!);
    await world.scheduler.run(() => world.broken.length > 0 || (now() >= endMs && open === 0), endMs + 600_000);
    if (open > 0) world.broken.push(`${open} requests have not ended`);
  });
  return { results, gateway: gateway!, broken: world.broken, firstRetries };
}
