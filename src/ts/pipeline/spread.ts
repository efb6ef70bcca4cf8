// The choice, for one request, between one instance of a stage and all of them.
//
// Invariant: one instance or all instances of a stage do the work, as its spec says; if the spec leaves it open, the
// request decides. A choice that a spec does not allow is refused before the request costs anything.
import { RdmaError } from '../core/errors.js';
import { checkObject, checkOneOf } from '../core/validate.js';
import type { Spread, WorkflowSpec } from './spec.js';

const SPREADS = ['route', 'shard'] as const;

/**
 * How a request is spread over the instances of each stage, in the order of the spec.
 *
 * @param wanted by name of a stage; the others as their spec says, `route` where it says `either`
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the stage that does not exist, or does not allow it
 */
export function spreadsOf(spec: WorkflowSpec, wanted: unknown): readonly Spread[] {
  const choice = checkObject<Record<string, unknown>>('spread', wanted);
  const spreads = spec.stages.map(({ spread }): Spread => (spread === 'either' ? 'route' : spread));
  for (const name of Object.keys(choice)) {
    const index = spec.stages.findIndex((stage) => stage.name === name);
    if (index < 0) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `spread: no stage ${name} in ${spec.name}`);
    const spread = checkOneOf(`spread.${name}`, choice[name], SPREADS);
    const allowed = spec.stages[index]!.spread;
    if (allowed !== 'either' && allowed !== spread) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} is of spread ${allowed}, not ${spread}`, {
        remedy: `make it of spread 'either' to leave that to each request`,
      });
    }
    spreads[index] = spread;
  }
  return spreads;
}
