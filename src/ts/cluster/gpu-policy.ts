// The settings of operators for how readily GPUs move from stage to stage.
//
// Invariant: every field is within its range; a missing field has its default, and an unknown one is refused.
import { checkObject, invalidArgument } from '../core/validate.js';
import { checkGpuMoves, DEFAULT_GPU_MOVES, type GpuMovePolicy } from '../planner/policies.js';

const NAMES: readonly string[] = Object.keys(DEFAULT_GPU_MOVES);

/**
 * The policy by which GPUs move.
 *
 * @param given some of its fields; false: none, placement alone divides GPUs
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function gpuPolicyOf(given: Partial<GpuMovePolicy> | false = {}): GpuMovePolicy | false {
  if (given === false) return false;
  const options = checkObject<Partial<GpuMovePolicy>>('gpuMoves', given);
  const unknown = Object.keys(options).find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw invalidArgument('gpuMoves', unknown, `an object with any of ${NAMES.join(', ')}`);
  const said = Object.entries(options).filter(([, value]) => value !== undefined);
  return checkGpuMoves({ ...DEFAULT_GPU_MOVES, ...Object.fromEntries(said) });
}
