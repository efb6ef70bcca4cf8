// The planner layer: the policies of a running cluster; profiles and traces, and the simulation of fleets under them.
export * from './policies.js';
export {
  assumptionsOf,
  bareSeconds,
  type CostChoices,
  costsOf,
  type GpuKind,
  type ModelCosts,
  type StageCosts,
} from './profiles/costs.js';
export {
  checkProfile,
  type Figure,
  type FigureSpread,
  type Profile,
  type SecondsFigure,
  type StageProfile,
} from './profiles/profile.js';
export { gapOf, stretched, type Trace, TraceBuilder, type TraceRow } from './traces/trace.js';
export { burstTrace, dayTrace, type GeneratorOptions, onOffTrace, poissonTrace } from './traces/generators.js';
export { type Gentd26LikeOptions, gentd26LikeTrace } from './traces/gentd26-like.js';
export { readTrace } from './traces/public-formats.js';
export { bareOf, DEFAULT_SETTINGS, FleetBuilder, type Settings, type Workload } from './fleet/builders.js';
export {
  type Compared,
  type CompareOptions,
  Comparison,
  type FleetName,
  FLEETS,
  type Ratio,
  ratiosOf,
} from './fleet/compare.js';
export {
  CLUSTER_DELAYS,
  type ClusterDelays,
  type FaultRates,
  type FleetSpec,
  NO_FAULTS,
  type PoolSpec,
  type StepSpec,
} from './fleet/fleet.js';
export { makePlan, type PlanInput, type PlannedPool, type PlanResult, type Sensitivity } from './fleet/planning.js';
export type { PoolResult, SimulationResult } from './fleet/result.js';
export { simulate, type SimulationInput } from './fleet/simulation.js';
export { type Tuned, tune, type TunedOver, tuneOver } from './fleet/tuning.js';
