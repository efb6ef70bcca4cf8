// The small pipelines that are enumerated: every run that departs from the ordinary course at most so many times.
import type { ChoiceLimits } from '../../src/ts/sim/choices.js';
import {
  PIPELINE_FAULTS,
  type PipelineFault,
  type PipelineShape,
  PLAIN_REQUEST,
  PLAIN_STAGE,
  SMALL_PIPELINE,
} from './pipeline-shape.js';

/** A pipeline that is enumerated. */
export interface PipelineCase {
  name: string;
  shape: PipelineShape;
  limits: ChoiceLimits;
  /** There are at least so many: fewer would mean that something is not looked at any more. */
  schedules: number;
}

const twoRequests = [PLAIN_REQUEST, { ...PLAIN_REQUEST, bytes: 90 }];
/** Longer than what goes through a lane. */
const inBlocks = { bytes: [1500, 2000], way: 'pass-on' } as const;

const chain = (...instances: number[]) =>
  instances.map((count, i) => ({ ...PLAIN_STAGE, after: [i - 1], instances: count }));

const diamond = [
  { ...PLAIN_STAGE, after: [-1] },
  { ...PLAIN_STAGE, after: [0] },
  { ...PLAIN_STAGE, after: [0] },
  { ...PLAIN_STAGE, after: [1, 2] },
];

const shards = [
  { ...PLAIN_STAGE, after: [-1], instances: 2, spread: 'shard' as const },
  { ...PLAIN_STAGE, after: [0] },
];

/** One fault at any step; the second departure is the choice of whom it meets. */
const once: ChoiceLimits = { order: 0, tear: 0, fault: 2 };
const processFaults: readonly PipelineFault[] = ['crash', 'stop', 'stop-and-replace', 'replace'];
const planFaults: readonly PipelineFault[] = ['scale-up', 'scale-down', 'give-up'];
const wayFaults: readonly PipelineFault[] = ['kill-at-request', 'cut-queue-pair', 'cut-channel'];

const withFaults = (faults: readonly PipelineFault[], shape: Partial<PipelineShape>): PipelineShape => ({
  ...SMALL_PIPELINE,
  faults,
  faultCount: 1,
  ...shape,
});

const together = (polls: boolean) => {
  const [first, second] = chain(1, 1);
  const batch = { size: 2, waitMs: 1, keys: 1, polls };
  return { stages: [{ ...first!, busyMs: 2, batch }, second!], requests: [...twoRequests, PLAIN_REQUEST] };
};

/** A stage that publishes pieces, one that reads and publishes them, and one that reads both of them. */
const streams = [
  { ...PLAIN_STAGE, pieces: 2 },
  { ...PLAIN_STAGE, after: [0], pieces: 2, streams: [0] },
  { ...PLAIN_STAGE, after: [0, 1], pieces: 1, streams: [0, 1] },
];
const heard = [{ ...PLAIN_REQUEST, hears: true }];

const routed = { stages: chain(2, 1), requests: twoRequests };
const sharded = { stages: shards, requests: twoRequests };
const twoInTheMiddle = diamond.map((stage, i) => ({ ...stage, instances: i === 1 ? 2 : 1 }));

/** The cases of one test file: so many that it ends in time on a busy machine. */
export const PIPELINE_CASES = {
  one: [
    {
      name: 'chain-of-one',
      shape: withFaults(PIPELINE_FAULTS, { stages: chain(1), requests: twoRequests }),
      limits: once,
      schedules: 1200,
    },
    {
      name: 'chain-of-one-twice',
      shape: withFaults(['crash'], { stages: chain(1), faultCount: 2 }),
      limits: { order: 0, tear: 0, fault: 3 },
      schedules: 3500,
    },
  ],
  order: [
    {
      name: 'chain-of-one-in-any-order',
      shape: withFaults(['crash'], { stages: chain(1) }),
      limits: { order: 1, tear: 0, fault: 2 },
      schedules: 12_000,
    },
  ],
  two: [
    {
      name: 'chain-of-two',
      shape: withFaults(PIPELINE_FAULTS, { stages: chain(1, 1), requests: twoRequests }),
      limits: once,
      schedules: 4000,
    },
  ],
  // A change of plans, and a death at any step before or behind it.
  change: [
    {
      name: 'change-and-crash',
      shape: withFaults(['give-up', 'crash'], { stages: chain(2), faultCount: 2 }),
      limits: once,
      schedules: 7500,
    },
  ],
  // A cancel at any step, and at any other step, before or behind it, a change of plans or of processes.
  cancel: (['scale-down', 'give-up', 'replace'] as const).map((fault, i) => ({
    name: `cancel-and-${fault}`,
    shape: withFaults(['cancel', fault], {
      stages: chain(2),
      faultCount: 2,
      eachOnce: true,
    }),
    limits: once,
    schedules: [3300, 2800, 3400][i]!,
  })),
  routed: [
    { name: 'routed-processes', shape: withFaults(processFaults, routed), limits: once, schedules: 1900 },
    { name: 'routed-plans', shape: withFaults(planFaults, routed), limits: once, schedules: 700 },
  ],
  routedWays: [{ name: 'routed-ways', shape: withFaults(wayFaults, routed), limits: once, schedules: 3500 }],
  diamond: [
    { name: 'diamond-processes', shape: withFaults(processFaults, { stages: diamond }), limits: once, schedules: 3000 },
  ],
  blocks: [
    {
      name: 'diamond-in-blocks',
      shape: withFaults(['crash', 'replace'], { stages: diamond.map((stage) => ({ ...stage, ...inBlocks })) }),
      limits: once,
      schedules: 1500,
    },
  ],
  card: [
    {
      name: 'diamond-on-card',
      shape: withFaults(['crash', 'stop-and-replace', 'replace'], { stages: diamond, copier: 'device' }),
      limits: once,
      schedules: 2300,
    },
  ],
  plans: [
    {
      name: 'diamond-plans',
      shape: withFaults(planFaults, { stages: twoInTheMiddle, requests: twoRequests }),
      limits: once,
      schedules: 1800,
    },
  ],
  ways: [
    {
      name: 'diamond-ways',
      shape: withFaults(['kill-at-request', 'cut-queue-pair'], { stages: diamond }),
      limits: once,
      schedules: 4500,
    },
  ],
  shards: [
    { name: 'shard-processes', shape: withFaults(processFaults, sharded), limits: once, schedules: 2400 },
    { name: 'shard-plans', shape: withFaults(planFaults, sharded), limits: once, schedules: 900 },
  ],
  shardWays: [
    {
      name: 'shard-ways',
      shape: withFaults(['kill-at-request', 'cut-queue-pair'], sharded),
      limits: once,
      schedules: 3500,
    },
  ],
  // Three requests, and batches of two: one waits while the others run.
  batches: [
    {
      name: 'batches',
      shape: withFaults(['crash', 'replace', 'stop-and-replace'], together(false)),
      limits: once,
      schedules: 1000,
    },
    {
      name: 'batches-that-poll',
      shape: withFaults(['crash', 'replace'], together(true)),
      limits: once,
      schedules: 650,
    },
  ],
  streams: [
    {
      name: 'streams-processes',
      shape: withFaults(processFaults, { stages: streams, requests: heard }),
      limits: once,
      schedules: 2300,
    },
  ],
  streamWays: [
    {
      name: 'streams-ways',
      shape: withFaults(wayFaults, { stages: streams, requests: heard }),
      limits: once,
      schedules: 5200,
    },
  ],
  streamBlocks: [
    {
      name: 'streams-in-blocks',
      shape: withFaults(['crash', 'replace'], {
        stages: streams.map((stage) => ({ ...stage, ...inBlocks })),
        requests: heard,
        copier: 'device',
      }),
      limits: once,
      schedules: 1400,
    },
  ],
} satisfies Record<string, readonly PipelineCase[]>;
