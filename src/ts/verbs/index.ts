// The verbs layer: RDMA objects by their verbs names.
export { RdmaError, isRdmaError } from '../core/errors.js';
export { CompletionChannel } from './completion-channel.js';
export {
  CompletionError,
  completionError,
  completionRemedy,
  completionStatusWords,
} from './completion-error.js';
export { CompletionQueue } from './completion-queue.js';
export {
  AccessFlags,
  CompletionFlags,
  CompletionOpcode,
  CompletionStatus,
  LinkLayer,
  mtuBytes,
  QpState,
  SendFlags,
  WorkOpcode,
} from './constants.js';
export {
  Device,
  type DeviceAttributes,
  type DeviceListing,
  listDevices,
  type PortAttributes,
} from './device.js';
export { formatGid, type GidChoice, type GidEntry, parseGidText, type RankedGid, rankGids } from './gid.js';
export { MemoryRegion } from './memory-region.js';
export type { PortAddress } from './port-address.js';
export { type MemoryOptions, ProtectionDomain, type QueuePairOptions } from './protection-domain.js';
export { explainTransition, type TransitionReport } from './qp-transitions.js';
export { type ConnectOptions, QueuePair, type QueuePairAttributes, type QueuePairEndpoint } from './queue-pair.js';
export { Completions, MAX_SGE, ReceiveRequests, type ScatterGather, SendRequests } from './records.js';
export {
  atomicWords,
  capabilityNames,
  linkLayerWords,
  linkRateGbps,
  odpCapabilityNames,
  odpOperationNames,
  physicalStateWords,
  portStateWords,
} from './words.js';
