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

const chain = (...instances: number[]) =>
  instances.map((count, i) => ({ ...PLAIN_STAGE, after: [i - 1], instances: count }));

/** One fault of any kind, at any step, to anybody. */
const oneFault: Partial<PipelineShape> = { faults: PIPELINE_FAULTS, faultCount: 1 };
const anyFault: ChoiceLimits = { order: 0, tear: 0, fault: 2 };
/** Two faults, each at any step, to whoever comes first or to one other. */
const twoFaults: Partial<PipelineShape> = { faultCount: 2 };

const processes: readonly PipelineFault[] = ['crash', 'stop-and-replace', 'replace'];

export const CHAIN_CASES: readonly PipelineCase[] = [
  {
    name: 'chain-of-one',
    shape: { ...SMALL_PIPELINE, ...oneFault, stages: chain(1), requests: twoRequests },
    limits: anyFault,
    schedules: 1,
  },
  {
    name: 'chain-of-two',
    shape: { ...SMALL_PIPELINE, ...oneFault, stages: chain(1, 1), requests: twoRequests },
    limits: anyFault,
    schedules: 1,
  },
  {
    name: 'chain-of-two-routed',
    shape: { ...SMALL_PIPELINE, ...oneFault, stages: chain(2, 1), requests: twoRequests },
    limits: anyFault,
    schedules: 1,
  },
  {
    name: 'chain-of-one-twice',
    shape: { ...SMALL_PIPELINE, ...twoFaults, faults: ['crash'], stages: chain(1) },
    limits: { order: 0, tear: 0, fault: 3 },
    schedules: 1,
  },
];

const diamond = [
  { ...PLAIN_STAGE, after: [-1] },
  { ...PLAIN_STAGE, after: [0] },
  { ...PLAIN_STAGE, after: [0] },
  { ...PLAIN_STAGE, after: [1, 2] },
];

export const DIAMOND_CASES: readonly PipelineCase[] = [
  {
    name: 'diamond',
    shape: { ...SMALL_PIPELINE, ...oneFault, stages: diamond },
    limits: anyFault,
    schedules: 1,
  },
  {
    name: 'diamond-card',
    shape: { ...SMALL_PIPELINE, ...oneFault, faults: processes, stages: diamond, copier: 'device' },
    limits: anyFault,
    schedules: 1,
  },
];

const shards = [
  { ...PLAIN_STAGE, after: [-1], instances: 2, spread: 'shard' as const },
  { ...PLAIN_STAGE, after: [0] },
];

export const SHARD_CASES: readonly PipelineCase[] = [
  {
    name: 'shards',
    shape: { ...SMALL_PIPELINE, ...oneFault, stages: shards, requests: twoRequests },
    limits: anyFault,
    schedules: 1,
  },
];

export const PIPELINE_CASES = [...CHAIN_CASES, ...DIAMOND_CASES, ...SHARD_CASES];
