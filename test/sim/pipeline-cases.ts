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

const withFaults = (faults: readonly PipelineFault[], shape: Partial<PipelineShape>): PipelineShape => ({
  ...SMALL_PIPELINE,
  faults,
  faultCount: 1,
  ...shape,
});

export const CHAIN_CASES: readonly PipelineCase[] = [
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
  {
    name: 'chain-of-two',
    shape: withFaults(PIPELINE_FAULTS, { stages: chain(1, 1), requests: twoRequests }),
    limits: once,
    schedules: 4000,
  },
];

export const ORDER_CASES: readonly PipelineCase[] = [
  {
    name: 'chain-of-one-in-any-order',
    shape: withFaults(['crash', 'replace'], { stages: chain(1) }),
    limits: { order: 1, tear: 0, fault: 2 },
    schedules: 25_000,
  },
];

export const ROUTED_CASES: readonly PipelineCase[] = [
  {
    name: 'routed-chain',
    shape: withFaults(PIPELINE_FAULTS, { stages: chain(2, 1), requests: twoRequests }),
    limits: once,
    schedules: 7000,
  },
];

export const DIAMOND_CASES: readonly PipelineCase[] = [
  {
    name: 'diamond-processes',
    shape: withFaults(processFaults, { stages: diamond }),
    limits: once,
    schedules: 3000,
  },
  {
    name: 'diamond-in-blocks',
    shape: withFaults(['crash', 'replace'], { stages: diamond.map((stage) => ({ ...stage, ...inBlocks })) }),
    limits: once,
    schedules: 1500,
  },
  {
    name: 'diamond-on-card',
    shape: withFaults(['crash', 'stop-and-replace', 'replace'], { stages: diamond, copier: 'device' }),
    limits: once,
    schedules: 2300,
  },
];

export const PLAN_CASES: readonly PipelineCase[] = [
  {
    name: 'diamond-plans',
    shape: withFaults(['scale-up', 'scale-down', 'give-up'], {
      stages: diamond.map((stage, i) => ({ ...stage, instances: i === 1 ? 2 : 1 })),
      requests: twoRequests,
    }),
    limits: once,
    schedules: 1800,
  },
];

/** A change of plans, and a death at any step before or behind it. */
export const CHANGE_CASES: readonly PipelineCase[] = [
  {
    name: 'change-and-crash',
    shape: withFaults(['give-up', 'crash'], { stages: chain(2), faultCount: 2 }),
    limits: once,
    schedules: 7500,
  },
];

export const WAY_CASES: readonly PipelineCase[] = [
  {
    name: 'diamond-ways',
    shape: withFaults(['kill-at-request', 'cut-queue-pair', 'cut-channel'], { stages: diamond }),
    limits: once,
    schedules: 6000,
  },
];

export const SHARD_CASES: readonly PipelineCase[] = [
  {
    name: 'shards',
    shape: withFaults(PIPELINE_FAULTS, { stages: shards, requests: twoRequests }),
    limits: once,
    schedules: 10_000,
  },
];

export const PIPELINE_CASES = [
  ...CHAIN_CASES,
  ...ORDER_CASES,
  ...ROUTED_CASES,
  ...DIAMOND_CASES,
  ...PLAN_CASES,
  ...CHANGE_CASES,
  ...WAY_CASES,
  ...SHARD_CASES,
];
