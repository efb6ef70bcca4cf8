// What the overload benchmark is asked to do.
//
// Invariant: settings that came through checkOverloadSettings() can be measured as they are.
import { RdmaError } from '../../core/errors.js';
import { checkInteger, checkObject, checkOneOf, checkString } from '../../core/validate.js';

/**
 * What is measured. `load`: more is offered than there is capacity for; `retry`: refused clients come again when the
 * refusal said; `cancel`: until what was aborted has left every place; `hung`: one instance of a stage stops;
 * `tenants`: one tenant offers ten times the capacity beside a steady one; `batch`: a stage takes eight tasks that cost
 * as much as 1.5.
 */
export const overloadTests = ['load', 'retry', 'cancel', 'hung', 'tenants', 'batch'] as const;
export type OverloadTest = (typeof overloadTests)[number];

/** What a stage does for a request: it sleeps, or it uses its processor. */
export const workKinds = ['sleep', 'compute'] as const;
export type WorkKind = (typeof workKinds)[number];

export interface OverloadSettings {
  device: string;
  tests: readonly OverloadTest[];
  /** How many times the capacity is offered, each more than 0 and at most 100. */
  factors: readonly number[];
  work: WorkKind;
  /** Mean time of one task in each stage, 1 to 10 000; single tasks take 75 to 125 % of it. */
  serviceMs: number;
  /** Of each stage, 1 to 16. */
  instances: number;
  /** Tasks that one instance runs at a time, 1 to 64. */
  concurrency: number;
  /** Requests that may wait, in our gateway and in the queue of a peer; 1 to 65 536. */
  queued: number;
  /** From the moment at which a request is due, 10 to 600 000. */
  deadlineMs: number;
  /** How long each figure is measured, 1 to 600. */
  seconds: number;
  /** Decides when requests come and how long their tasks take, 0 to 2^32 - 1. */
  seed: number;
}

export const STAGES = ['one', 'two', 'three'] as const;
export const MAX_FACTOR = 100;
export const MAX_SERVICE_MS = 10_000;
export const MAX_INSTANCES = 16;
export const MAX_CONCURRENCY = 64;
export const MAX_QUEUED = 65_536;
export const MIN_DEADLINE_MS = 10;
export const MAX_DEADLINE_MS = 600_000;
export const MAX_SECONDS = 600;
export const MAX_SEED = 2 ** 32 - 1;
const MAX_FACTORS = 16;

/**
 * What the command does when it is asked for nothing more. Its capacity is 200 requests a second, on two cores as
 * well.
 */
export const overloadDefaults: OverloadSettings = {
  device: 'soft0',
  tests: overloadTests,
  factors: [1.3, 3, 10],
  work: 'sleep',
  serviceMs: 40,
  instances: 2,
  concurrency: 4,
  queued: 256,
  deadlineMs: 1000,
  seconds: 10,
  seed: 1,
};

/**
 * Checks settings, wherever they come from.
 *
 * @returns the same settings
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT, naming the option
 */
export function checkOverloadSettings(value: unknown): OverloadSettings {
  const s = checkObject<OverloadSettings>('settings', value);
  checkString('device', s.device, { minLength: 1, maxLength: 64 });
  for (const test of checkList('only', s.tests, overloadTests.length)) checkOneOf('only', test, overloadTests);
  for (const factor of checkList('factor', s.factors, MAX_FACTORS)) {
    if (!(typeof factor === 'number' && factor > 0 && factor <= MAX_FACTOR)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `factor: give numbers above 0, at most ${MAX_FACTOR}`);
    }
  }
  checkOneOf('work', s.work, workKinds);
  checkInteger('service-ms', s.serviceMs, 1, MAX_SERVICE_MS);
  checkInteger('instances', s.instances, 1, MAX_INSTANCES);
  checkInteger('concurrency', s.concurrency, 1, MAX_CONCURRENCY);
  checkInteger('queued', s.queued, 1, MAX_QUEUED);
  checkInteger('deadline-ms', s.deadlineMs, MIN_DEADLINE_MS, MAX_DEADLINE_MS);
  checkInteger('seconds', s.seconds, 1, MAX_SECONDS);
  checkInteger('seed', s.seed, 0, MAX_SEED);
  if (STAGES.length * s.serviceMs * 1.25 >= s.deadlineMs) {
    const words = `${STAGES.length} stages of ${s.serviceMs} ms cannot answer within ${s.deadlineMs} ms`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `deadline-ms: ${words}`);
  }
  if (s.tests.includes('hung') && s.instances < 2) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'instances: one that hangs needs others beside it, at least 2', {
      remedy: 'leave hung out of --only, or give more instances',
    });
  }
  return s;
}

function checkList(name: string, value: unknown, max: number): readonly unknown[] {
  if (Array.isArray(value) && value.length >= 1 && value.length <= max) return value;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name}: give 1 to ${max} of them`);
}

/** Tasks that one stage runs at a time. */
export function slotsOf({ instances, concurrency }: OverloadSettings): number {
  return instances * concurrency;
}
