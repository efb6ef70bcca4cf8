// The pipeline layer: workflows, tensors, stage instances and gateways. Processes belong to the cluster layer.
export { RdmaError } from '../core/errors.js';
export type { BatchHandler, BatchKey, BatchOptions, BatchOutput, BatchTask } from './batch-task.js';
export type { Parts } from './body.js';
export type { Availability } from './admission.js';
export { Gateway } from './gateway.js';
export {
  checkTenants,
  DEFAULT_QUEUED_BYTES,
  type GatewayOptions,
  type GatewayStatus,
  type QueueStatus,
  type TaskEvent,
  type TenantLimits,
} from './gateway-options.js';
export type { BatchStatus } from './executor.js';
export type {
  PipelineOutput,
  PipelineRequest,
  PipelineResult,
  ProgressEvent,
  RequestCost,
  RequestOptions,
} from './request.js';
export type { RejectionReason } from './rejection.js';
export type { StageInput, StagePiece } from './input.js';
export {
  LATENCY_BUCKETS,
  Latency,
  type LatencyStatus,
  latencyBucketStartUs,
} from './latency.js';
export type { LinkStatus } from './links.js';
export { MAX_META_BYTES, type Meta } from './meta.js';
export { MAX_PARTS } from './envelope.js';
export type { PlaceOptions, PlaceStatus } from './place-options.js';
export {
  checkPlaceAddress,
  fabricOf,
  type DeviceAddress,
  type DeviceKind,
  type GpuAddress,
  type Location,
  type PlaceAddress,
} from './place-address.js';
export { subnetOf } from './location.js';
export { type Reach, reach } from './reach.js';
export type { Via } from './link-connector.js';
export { checkPlan, makePlan, type PlaceId, type Plan, placeName, stageIndex, stagePlaces } from './plan.js';
export { type PipelinePort, pipelinePort, systemPipelinePort } from './port.js';
export { checkScale, type StageScale, type StageScaleInput } from './scale-spec.js';
export { checkLabels, checkResources, MAX_GPUS, NO_RESOURCES, type StageResources } from './resources.js';
export { ALL, type Graph, graphOf, receivers, type Route, senders } from './routing.js';
export type { PythonSpec } from './python-spec.js';
export type { GpuOutputStatus, PythonStatus } from './python-status.js';
export { BOARD_SLOTS, type RequestAttempt, type RunningTask, TaskBoard } from './task-board.js';
export {
  type BatchSpec,
  batchSizeOf,
  capacityOf,
  checkSpec,
  GATEWAY,
  REQUEST,
  RESULT,
  type Spread,
  type StageCost,
  type StageSpread,
  type StageSpec,
  type WorkflowSpec,
} from './spec.js';
export {
  type StageEvent,
  StageInstance,
  type StageInstanceOptions,
  type StageInstanceStatus,
} from './stage-instance.js';
export type { PieceEvent, PipelinePiece } from './stream-caller.js';
export type { StageStream } from './stream-output.js';
export { RequestStream, type StreamOptions } from './stream-request.js';
export { requestName } from './request-name.js';
export type { StageOutput, StageTask, TensorShape } from './task.js';
export { MAX_PREVIEW_BYTES, type ProgressDetails } from './progress-note.js';
export {
  copyTensor,
  DTYPES,
  type Dtype,
  elementBytes,
  elementCount,
  type Float16Data,
  type Tensor,
  type TensorData,
  tensor,
} from './tensor.js';
export type { HopTrace, TaskTrace, Trace } from './trace.js';
export { readTraceparent, type RemoteSpan, type TraceContext, writeTraceparent } from './trace-context.js';
export {
  type BatchedTaskOptions,
  isWorkflow,
  type PythonStageOptions,
  type SingleTaskOptions,
  type Stage,
  type StageCode,
  type StageHandler,
  type StageOptions,
  type StageShapeOptions,
  Workflow,
  type WorkflowOptions,
  type WorkflowSizes,
  workflow,
} from './workflow.js';
