// The load of a gateway, by which stages are scaled.
//
// Invariant: counts only grow within one incarnation of the gateway, so a lost report costs nothing. A request that
// waits at the gateway counts at the stages that hold it up, not at those that wait for others.
import { checkInteger, checkObject } from '../core/validate.js';
import type { Entry } from '../control/index.js';
import { readJson } from '../control/store.js';
import { capacityOf, type GatewayStatus, type Plan, type WorkflowSpec } from '../pipeline/index.js';

export const LOADS = 'loads.';

/** One stage, as one gateway sees it. */
export interface GatewayStageLoad {
  /** Its tasks there that may begin or have begun. */
  readonly atWork: number;
  /** Its requests that wait at the gateway because this stage has no room. */
  readonly waiting: number;
  /** Its tasks that were done since its start, without the first of each process; and how long they took together. */
  readonly served: number;
  readonly servedMs: number;
}

/** `loads.APP.N`, written by the gateway of that number. */
export interface GatewayLoad {
  /** Of its lease: a report of another incarnation says nothing of the gateway that has the number now. */
  readonly incarnation: number;
  /** Requests that have come since its start, refused ones among them; a request that comes again is counted once. */
  readonly arrived: number;
  readonly stages: Readonly<Record<string, GatewayStageLoad>>;
}

/**
 * What a gateway reports.
 *
 * @param plan its newest one
 * @param arrived requests that have come since its start
 */
export function loadOf(
  spec: WorkflowSpec,
  plan: Plan,
  { instances, served, queued }: Pick<GatewayStatus, 'instances' | 'served' | 'queued'>,
  arrived: number,
  incarnation: number,
): GatewayLoad {
  const fullness = spec.stages.map((stage, index) => {
    const own = instances.filter((each) => {
      const isThere = each.stage === index && plan.instances[index]!.includes(each.instance);
      return isThere && each.availability.state === 'ready';
    });
    // Without an instance that works it holds up all.
    return Math.min(1, ...own.map((each) => each.arrived / capacityOf(stage)));
  });
  const fullest = Math.max(...fullness);
  const stages: Record<string, GatewayStageLoad> = {};
  spec.stages.forEach(({ name }, index) => {
    const { count = 0, totalUs = 0 } = served[index] ?? {};
    let atWork = 0;
    for (const each of instances) if (each.stage === index) atWork += each.arrived;
    const waiting = fullness[index] === fullest ? queued : 0;
    stages[name] = { atWork, waiting, served: count, servedMs: totalUs / 1000 };
  });
  return { incarnation, arrived, stages };
}

/** What a gateway has said. @throws RdmaError RDMA_ERR_PROTOCOL, RDMA_ERR_INVALID_ARGUMENT when it makes no sense */
export function readLoad(spec: WorkflowSpec, entry: Entry): GatewayLoad {
  const { incarnation, arrived, stages } = checkObject<GatewayLoad>(entry.key, readJson(entry));
  const checked: Record<string, GatewayStageLoad> = {};
  for (const { name } of spec.stages) {
    const given = checkObject<GatewayStageLoad>(
      `${name} of ${entry.key}`,
      checkObject<Record<string, unknown>>(entry.key, stages)[name],
    );
    const { servedMs } = given;
    checked[name] = {
      atWork: checkInteger(`atWork of ${entry.key}`, given.atWork, 0, 2 ** 31 - 1),
      waiting: checkInteger(`waiting of ${entry.key}`, given.waiting, 0, 2 ** 31 - 1),
      served: checkInteger(`served of ${entry.key}`, given.served, 0),
      servedMs: Number.isFinite(servedMs) && servedMs >= 0 ? servedMs : 0,
    };
  }
  return {
    incarnation: checkInteger(`incarnation of ${entry.key}`, incarnation, 0),
    arrived: checkInteger(`arrived of ${entry.key}`, arrived, 0),
    stages: checked,
  };
}
