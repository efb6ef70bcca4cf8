// The planner layer: placement and scaling, pure functions of what is known; profiles and traces, and the simulation of
// fleets under them.
export { fairShares, type GroupUser, type WorkflowDemand } from './demand.js';
export { checkNode, checkNodes, type NodeDevice, type NodeGpu, type NodeInfo, type NodeInfoInput } from './nodes.js';
export {
  place,
  type Placement,
  type PlacementInput,
  type PlacementResult,
  type PoolShare,
  type Unplaced,
} from './placement.js';
export { type Arrivals, forecastRate, noArrivals, observe, presentRate } from './arrivals.js';
export { erlangC, md1MeanWaitMs, mg1PsMeanMs, mmcMeanWaitMs, mmcWaitsLonger, serversFor } from './queueing.js';
export {
  checkPolicy,
  DEFAULT_SCALE_POLICY,
  firstState,
  scale,
  type ScaleAction,
  type ScalePolicy,
  type ScaleReason,
  type ScaleState,
  type StageLoad,
} from './scaling.js';
export { decide, replay, type ScaleEvent } from './scale-events.js';
export {
  allowedOf,
  checkGpuMoves,
  decideGpus,
  DEFAULT_GPU_MOVES,
  type GpuDecision,
  type GpuDemand,
  type GpuEvent,
  type GpuMove,
  type GpuMovePolicy,
  type GpuMoveReason,
  type GpuStage,
  type GpuStageState,
  type GpuState,
  moveGpus,
  NO_GPU_STATE,
  replayGpus,
} from './gpu-moves.js';
export { inTimePart, type SloLoad } from './in-time.js';
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
