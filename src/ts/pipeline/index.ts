// The pipeline layer: workflows, tensors, messages, stage instances and the proxy. Processes are the cluster layer's.
export { RdmaError } from '../core/errors.js';
export { decodeMessage, encodeMessage, MAX_HEAD_BYTES, MAX_PARTS, messageBytes, type Parts } from './codec.js';
export {
  type PipelineOutput,
  type PipelineRequest,
  type PipelineResult,
  Proxy,
  type ProxyOptions,
  type RequestOptions,
} from './proxy.js';
export { RESULT, type StageEvent, StageRuntime, type StageRuntimeOptions } from './stage-runtime.js';
export {
  copyTensor,
  DTYPES,
  type Dtype,
  elementBytes,
  elementCount,
  type Tensor,
  type TensorData,
  tensor,
} from './tensor.js';
export type { HopTrace, TaskTrace, Trace } from './trace.js';
export {
  type Meta,
  REQUEST,
  type Stage,
  type StageHandler,
  type StageInput,
  type StageOptions,
  type StageOutput,
  type StageTask,
  Workflow,
  type WorkflowOptions,
  type WorkflowSizes,
  workflow,
} from './workflow.js';
