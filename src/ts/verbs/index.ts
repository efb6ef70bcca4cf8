// The verbs layer: RDMA objects by their verbs names.
export { type ErrorCode, type FailureCode, RdmaError, isRdmaError } from '../core/errors.js';
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
  QpType,
  SendFlags,
  WorkOpcode,
} from '../addon/constants.js';
export {
  Device,
  type DeviceAttributes,
  type DeviceListing,
  listDevices,
  type PortAttributes,
} from './device.js';
export { AddressHandle, type AddressVector, pathTo } from './address-handle.js';
export { type AsyncEvent, type AsyncEventName, AsyncEventType } from './async-event.js';
export type { CompletionQueueCounters, QueuePairCounters } from './counters.js';
export type { CompletedOperation, WaitOptions } from './operation.js';
export {
  type Destination,
  type OperationOptions,
  Operations,
  type Pieces,
  type RemoteMemory,
  type SendOperationOptions,
} from './operations.js';
export { MemoryWindow } from './memory-window.js';
export type { RawNumbers } from './resource.js';
export { SharedReceiveQueue, type SharedReceiveQueueOptions } from './shared-receive-queue.js';
export { formatGid, type GidChoice, type GidEntry, parseGidText, type RankedGid, rankGids } from './gid.js';
export { crc32cOf } from './checksum.js';
export { WIDE_COPY_BYTES, wideCopy } from './wide-copy.js';
export { RemoteMapping } from './remote-mapping.js';
export { MemoryRegion } from './memory-region.js';
export type { PortAddress } from './port-address.js';
export { type MemoryOptions, ProtectionDomain, type QueuePairOptions } from './protection-domain.js';
export type { QueuePairAttributes } from './qp-attributes.js';
export { type ConnectOptions, QueuePair, type QueuePairEndpoint } from './queue-pair.js';
export { Completions } from './completions.js';
export { ReceiveRequests } from './receive-requests.js';
export { nextRkey, SendRequests } from './send-requests.js';
export { MAX_SGE, type ScatterGather } from './work-requests.js';
export { explainTransition, type TransitionReport } from './qp-transitions.js';
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
