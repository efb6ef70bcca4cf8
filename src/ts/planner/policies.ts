// What a running cluster decides by: placement and scaling, pure functions of what is known.
//
// Invariant: nothing here loads the simulation of fleets, which no worker and no gateway needs.
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
