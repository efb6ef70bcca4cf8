// How large a run of a whole pipeline under the simulation is, and what may go wrong in it.
import { SeededChoices } from '../../src/ts/sim/choices.js';

export const PIPELINE_FAULTS = [
  /** A process dies; another one takes its place. */
  'crash',
  /** A process is stopped and continued. */
  'stop',
  /** A process is stopped; another one takes its place; later the first one is continued, and at last it is ended. */
  'stop-and-replace',
  /** A place is closed in good order, and another process takes it. */
  'replace',
  /** A process dies between two work requests. */
  'kill-at-request',
  'cut-queue-pair',
  'stall-queue-pair',
  'cut-channel',
  /** One instance more, or less, of a stage. */
  'scale-up',
  'scale-down',
  /** An instance dies for good. */
  'give-up',
] as const;
/** `cancel`: a caller gives its request up. No seed chooses it: requests of seeds have `abortAfterMs`. */
export type PipelineFault = (typeof PIPELINE_FAULTS)[number] | 'cancel';

/** Defects that can be planted in the pipeline: the values of PlaceOptions.flaw. */
export type PipelineFlaw = string;

/** What a handler does with what it makes. */
export type Way =
  /** Tensors in ordinary memory. */
  | 'ordinary'
  /** Tensors made with task.output(). */
  | 'output'
  /** It hands on the tensors of its first input, beside one of its own. */
  | 'pass-on';

export interface StageShape {
  /** Stages before it; -1 is the request. */
  after: readonly number[];
  spread: 'route' | 'shard' | 'either';
  instances: number;
  concurrency: number;
  /** Lengths of its outputs in bytes; each run takes one of them. */
  bytes: readonly number[];
  way: Way;
  /** How long a task takes at most, in ms; undefined: the handler answers at once. */
  busyMs: number | undefined;
  /** The handler ends when its signal is aborted. */
  listens: boolean;
  /** The most pieces that it publishes; each run publishes some number of them. Undefined: it answers whole. */
  pieces?: number;
  /** Of `after`, the stages that it reads piece by piece. */
  streams?: readonly number[];
  /** It takes several tasks at a time; undefined: single ones. */
  batch: BatchShape | undefined;
}

export interface BatchShape {
  size: number;
  waitMs: number;
  /** How many keys tasks have. */
  keys: number;
  /** The handler ends each task when it is through, and takes up more. */
  polls: boolean;
}

/** How a handler fails: it throws an error, one that is retryable, or its process ends. */
export interface Failing {
  stage: number;
  /** In each run; otherwise in some. */
  always: boolean;
  how: 'throws' | 'retryable' | 'ends';
}

export interface RequestShape {
  /** Number of the gateway that it goes to. */
  gateway: number;
  /** When it comes, in ms. */
  atMs: number;
  bytes: number;
  timeoutMs: number | undefined;
  /** So long after it came its caller gives it up. */
  abortAfterMs: number | undefined;
  /** The stage whose handler fails for it; undefined: none. */
  fails: Failing | undefined;
  /** The caller looks at received memory for so many ms; undefined: it takes copies. */
  viewMs: number | undefined;
  trace: boolean | undefined;
  /** The caller hears of pieces as they come. */
  hears?: boolean;
  /** All instances of a stage that leaves it open work for it. */
  shards: boolean;
}

export interface PipelineShape {
  stages: readonly StageShape[];
  gateways: number;
  requests: readonly RequestShape[];
  maxInFlight: number;
  /** See PlaceSizes. */
  residentRequests: number;
  streamedPieces: number;
  slots: number;
  inlineBytes: number;
  laneMessages: number;
  poolBytes: number;
  /** See WorldOptions. */
  copier: 'device' | 'process';
  tearShare: number;
  weakOrder: boolean;
  pollBatch: number;
  /** How long processes poll, in microseconds. */
  pollUs: number;
  /** The gateways want to know of starts and progress. */
  watched: boolean;
  faults: readonly PipelineFault[];
  faultCount: number;
  /** Each kind of fault comes once at most; otherwise as often as there are faults. */
  eachOnce?: boolean;
  flaw?: PipelineFlaw;
}

/** A stage that answers at once; what small configurations are made of. */
export const PLAIN_STAGE: StageShape = {
  after: [-1],
  spread: 'route',
  instances: 1,
  concurrency: 1,
  bytes: [40, 90],
  way: 'ordinary',
  busyMs: undefined,
  listens: false,
  batch: undefined,
};

export const PLAIN_REQUEST: RequestShape = {
  gateway: 0,
  atMs: 0,
  bytes: 20,
  timeoutMs: undefined,
  abortAfterMs: undefined,
  fails: undefined,
  viewMs: undefined,
  trace: false,
  shards: false,
};

/** What small configurations have in common. */
export const SMALL_PIPELINE: PipelineShape = {
  stages: [PLAIN_STAGE],
  gateways: 1,
  requests: [PLAIN_REQUEST],
  maxInFlight: 16,
  residentRequests: 4,
  streamedPieces: 8,
  slots: 8,
  inlineBytes: 1024,
  laneMessages: 4,
  poolBytes: 2 ** 17,
  copier: 'process',
  tearShare: 0,
  weakOrder: false,
  pollBatch: 16,
  pollUs: 0,
  watched: false,
  faults: [],
  faultCount: 0,
};

const WAYS: readonly Way[] = ['ordinary', 'output', 'pass-on'];

class Draw {
  private readonly choices: SeededChoices;

  constructor(seed: number, stream = 2) {
    this.choices = new SeededChoices(seed, stream);
  }

  one<T>(items: readonly T[]): T {
    return items[this.choices.pick(items.length)]!;
  }

  chance(probability: number): boolean {
    return this.choices.chance(probability);
  }

  upTo(most: number): number {
    return this.choices.pick(most + 1);
  }
}

/** The shape of the run with this seed: everything about it follows from the seed. */
export function pipelineShapeOf(seed: number): PipelineShape {
  const draw = new Draw(seed);
  const count = draw.one([1, 2, 2, 3, 3, 4, 4, 5, 6]);
  const inlineBytes = draw.one([1024, 1536]);
  const stages: StageShape[] = [];
  for (let i = 0; i < count; i++) stages.push(stageOf(draw, i, inlineBytes));
  const together = new Draw(seed, 15); // of its own: all else is as it was without batches
  const gateways = draw.one([1, 1, 1, 2]);
  const requests = Array.from({ length: draw.one([1, 2, 3, 5, 8]) }, () =>
    requestOf(draw, together, gateways, count, inlineBytes),
  );
  const shape: PipelineShape = {
    stages: stages.map((stage) => withBatches(together, stage)),
    gateways,
    requests,
    maxInFlight: draw.one([1, 4, 16]),
    residentRequests: draw.one([2, 4, 8]),
    streamedPieces: 8,
    slots: draw.one([2, 8, 16]),
    inlineBytes,
    laneMessages: draw.one([2, 4]),
    poolBytes: draw.one([2 ** 17, 2 ** 18]),
    copier: draw.one(['device', 'process'] as const),
    tearShare: draw.one([0, 0, 0.1]),
    weakOrder: draw.chance(0.3),
    pollBatch: draw.one([2, 16]),
    pollUs: draw.one([0, 0, 20]),
    watched: draw.chance(0.3),
    faults: PIPELINE_FAULTS,
    faultCount: draw.one([0, 1, 1, 2, 3, 4]),
  };
  // Behind all else, so that the rest of a seed's shape is what it was before there were streams.
  return draw.chance(0.4) ? withStreams(draw, shape) : shape;
}

// Some stages publish pieces, and some of those behind them read them as they come.
function withStreams(draw: Draw, shape: PipelineShape): PipelineShape {
  const pieces = shape.stages.map(({ batch }) => (draw.chance(0.7) && batch === undefined ? draw.one([1, 2, 4]) : 0));
  const stages = shape.stages.map((stage, i) => ({
    ...stage,
    pieces: pieces[i]!,
    streams: stage.after.filter((before) => {
      return before >= 0 && pieces[before]! > 0 && stage.batch === undefined && draw.chance(0.7);
    }),
  }));
  const requests = shape.requests.map((request) => ({ ...request, hears: draw.chance(0.5) }));
  return { ...shape, stages, requests, streamedPieces: draw.one([4, 8, 16]) };
}

function stageOf(draw: Draw, index: number, inlineBytes: number): StageShape {
  const after = new Set<number>([draw.upTo(index) - 1]);
  if (index > 0 && draw.chance(0.5)) after.add(draw.upTo(index) - 1);
  if (index > 1 && draw.chance(0.3)) after.add(draw.upTo(index) - 1);
  const around = [0, 1, 60, 250, inlineBytes - 500, inlineBytes - 300, inlineBytes, inlineBytes + 1, 3 * inlineBytes];
  return {
    after: [...after].sort((a, b) => a - b),
    spread: draw.one(['route', 'route', 'shard']),
    instances: draw.one([1, 1, 2, 2, 3]),
    concurrency: draw.one([1, 1, 2]),
    bytes: [draw.one(around), draw.one(around)],
    way: draw.one(WAYS),
    busyMs: draw.one([undefined, 0.1, 2, 30]),
    listens: draw.chance(0.5),
    batch: undefined,
  };
}

function failingOf(draw: Draw, stages: number): Failing {
  const [stage, always] = [draw.upTo(stages - 1), draw.chance(0.5)];
  return { stage, always, how: draw.one(['throws', 'retryable', 'ends'] as const) };
}

function withBatches(draw: Draw, stage: StageShape): StageShape {
  const isOpen = stage.spread === 'route' && draw.chance(0.4);
  const batch = {
    size: draw.one([2, 3, 4]),
    waitMs: draw.one([0, 0, 1, 20]),
    keys: draw.one([1, 1, 2]),
    polls: draw.chance(0.4),
  };
  return { ...stage, spread: isOpen ? 'either' : stage.spread, batch: draw.chance(0.35) ? batch : undefined };
}

function requestOf(draw: Draw, together: Draw, gateways: number, stages: number, inlineBytes: number): RequestShape {
  return {
    gateway: draw.upTo(gateways - 1),
    atMs: draw.one([0, 0, 1, 20, draw.upTo(200)]),
    bytes: draw.one([0, 1, 100, inlineBytes - 400, inlineBytes, 2 * inlineBytes]),
    timeoutMs: draw.chance(0.1) ? draw.one([1, 10, 100, 5000]) : undefined,
    abortAfterMs: draw.chance(0.1) ? draw.upTo(60) : undefined,
    fails: draw.chance(0.1) ? failingOf(draw, stages) : undefined,
    viewMs: draw.one([undefined, undefined, 1, 40]),
    trace: draw.one([undefined, true, false]),
    shards: together.chance(0.5),
  };
}
