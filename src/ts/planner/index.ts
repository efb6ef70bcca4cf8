// The planner layer: placement and scaling, pure functions of what is known.
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
