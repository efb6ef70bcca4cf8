// A plan: the instances of each stage, and the gateways.
//
// Invariant: a plan has a number and never changes; a later plan has a larger number. A request is admitted under one
// plan, and every place derives the request's senders and receivers from that plan, whatever newer plans exist.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject } from '../core/validate.js';
import { GATEWAY, MAX_INSTANCES, REQUEST, type StageSpec, type WorkflowSpec } from './spec.js';

/** The most gateways of a plan. */
export const MAX_GATEWAYS = 64;
/** Numbers of instances and gateways stay below this. */
export const MAX_INSTANCE_NUMBER = 0xfffe;
const MAX_PLAN_NUMBER = 0xffffffff;

/** Which places exist. `JSON.parse(JSON.stringify(plan))` is the same plan. */
export interface Plan {
  readonly number: number;
  /**
   * The numbers of the instances of each stage, in the order of the spec's stages; each list ascends. An empty one: the
   * stage sleeps, and requests wait at their gateways for a plan in which it does not.
   */
  readonly instances: readonly (readonly number[])[];
  /** The numbers of the gateways; ascending. */
  readonly gateways: readonly number[];
}

/** A stage index for the request and for gateways, which are not stages. */
export const GATEWAY_INDEX = -1;

/** A place, as its stage's index in the spec (or `GATEWAY_INDEX`) and its instance number. */
export interface PlaceId {
  readonly stage: number;
  readonly instance: number;
}

/**
 * Makes a plan.
 *
 * @param number 1 to 2^32 - 1; larger than that of every plan before it
 * @param instances for each stage of the spec, the numbers of its instances (0 to 65534), at least one unless its
 *   `scale.min` is 0; the default is 0 to `stage.instances - 1`
 * @param gateways the numbers of the gateways; default one, 0
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming what is wrong
 */
export function makePlan(
  spec: WorkflowSpec,
  number: number,
  instances: readonly (readonly number[])[] = spec.stages.map(firstInstances),
  gateways: readonly number[] = [0],
): Plan {
  checkInteger('number', number, 1, MAX_PLAN_NUMBER);
  if (instances.length !== spec.stages.length) {
    throw new RdmaError(
      'RDMA_ERR_INVALID_ARGUMENT',
      `${instances.length} lists of instances for ${spec.stages.length} stages`,
    );
  }
  return Object.freeze({
    number,
    instances: Object.freeze(
      instances.map((list, i) => {
        const { name, scale } = spec.stages[i]!;
        return numbers(`instances of ${name}`, list, MAX_INSTANCES, scale?.min === 0 ? 0 : 1);
      }),
    ),
    gateways: numbers('gateways', gateways, MAX_GATEWAYS),
  });
}

/** Checks a plan that came from another process. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPlan(spec: WorkflowSpec, input: unknown): Plan {
  const { number, instances, gateways } = checkObject<Plan>('plan', input);
  if (!Array.isArray(instances) || !Array.isArray(gateways)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'a plan has lists of instances and gateways');
  }
  return makePlan(spec, number, instances, gateways);
}

function firstInstances(stage: StageSpec): number[] {
  return Array.from({ length: stage.instances }, (_, i) => i);
}

function numbers(what: string, list: unknown, most: number, least = 1): readonly number[] {
  if (!Array.isArray(list) || list.length < least || list.length > most) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${what} must be a list of ${least} to ${most} numbers`);
  }
  const sorted = list.map((number) => checkInteger(what, number, 0, MAX_INSTANCE_NUMBER)).sort((a, b) => a - b);
  if (sorted.some((number, i) => number === sorted[i - 1])) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${what} names one number twice`);
  }
  return Object.freeze(sorted);
}

/** The name of a place: `stage/instance`, or `gateway/number`. */
export function placeName(spec: WorkflowSpec, place: PlaceId): string {
  return `${place.stage === GATEWAY_INDEX ? GATEWAY : spec.stages[place.stage]!.name}/${place.instance}`;
}

/**
 * The index of a stage in the spec; that of the request is `GATEWAY_INDEX`. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function stageIndex(spec: WorkflowSpec, name: string): number {
  if (name === REQUEST || name === GATEWAY) return GATEWAY_INDEX;
  const index = spec.stages.findIndex((stage) => stage.name === name);
  if (index < 0) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `no stage ${name} in ${spec.name}`);
  return index;
}

/** Every place of a plan that is a stage instance. */
export function stagePlaces(plan: Plan): PlaceId[] {
  return plan.instances.flatMap((list, stage) => list.map((instance) => ({ stage, instance })));
}
