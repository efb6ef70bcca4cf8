// Random graphs, plans and routes for property tests.
//
// Invariant: what comes from here has passed the checks of specs and plans, so a property may rely on it.
import fc from 'fast-check';
import { makePlan, type Plan } from '../../src/ts/pipeline/plan.js';
import { ALL, type Graph, graphOf, type Route } from '../../src/ts/pipeline/routing.js';
import {
  checkSpec,
  REQUEST,
  type StageSpecInput,
  type StageSpread,
  type WorkflowSpec,
} from '../../src/ts/pipeline/spec.js';

const rawStage = fc.record({
  after: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
  spread: fc.constantFrom('route', 'shard', 'either'),
  asShard: fc.boolean(),
  instances: fc.uniqueArray(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 4 }),
  pick: fc.nat(),
});
const raw = fc.record({
  stages: fc.array(rawStage, { minLength: 1, maxLength: 9 }),
  gateways: fc.uniqueArray(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 3 }),
  gateway: fc.nat(),
});

/** A graph, a plan of it, and the route of one request. */
export interface Example {
  spec: WorkflowSpec;
  graph: Graph;
  plan: Plan;
  route: Route;
  /** Number of the gateway that admits the request. */
  gateway: number;
}

export const examples: fc.Arbitrary<Example> = raw.map(({ stages, gateways, gateway }) => {
  const inputs = stages.map(
    ({ after, spread }, i): StageSpecInput => ({
      name: `s${i}`,
      spread: spread as StageSpread,
      after: after.map((pick) => (pick % (i + 1) === 0 ? REQUEST : `s${(pick % (i + 1)) - 1}`)),
    }),
  );
  const spec = checkSpec({ name: 'random', stages: inputs });
  const plan = makePlan(
    spec,
    7,
    stages.map(({ instances }) => instances),
    gateways,
  );
  const route = stages.map(({ spread, asShard, pick }, i) => {
    const list = plan.instances[i]!;
    return spread === 'shard' || (spread === 'either' && asShard) ? ALL : list[pick % list.length]!;
  });
  return { spec, graph: graphOf(spec), plan, route, gateway: plan.gateways[gateway % plan.gateways.length]! };
});
