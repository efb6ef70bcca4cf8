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
export { type Compared, type FleetName, FLEETS } from './fleet/compared.js';
export { type CompareOptions, Comparison } from './fleet/compare.js';
export {
  CLUSTER_DELAYS,
  type ClusterDelays,
  type FaultRates,
  type FleetSpec,
  NO_FAULTS,
  type PoolSpec,
  type StepSpec,
} from './fleet/fleet.js';
export { FleetBuilder } from './fleet/fleet-builder.js';
export type { PlanInput, PlannedPool, PlanResult, Sensitivity } from './fleet/plan.js';
export { makePlan } from './fleet/planning.js';
export { type Ratio, ratiosOf } from './fleet/ratios.js';
export type { PoolResult, SimulationResult } from './fleet/result.js';
export { DEFAULT_SETTINGS, type Settings } from './fleet/settings.js';
export { simulate, type SimulationInput } from './fleet/simulation.js';
export { type Tuned, tune, type TunedOver, tuneOver } from './fleet/tuning.js';
export { bareOf, type Workload } from './fleet/workload.js';
