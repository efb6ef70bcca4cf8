// The cluster layer: pipelines as sets of processes.
export { RdmaError } from '../core/errors.js';
export { LocalCluster, type LocalClusterOptions } from './local-cluster.js';
export { LocalPipeline } from './local-pipeline.js';
export type { LocalPipelineOptions, LocalPipelineStatus, PipelineEvent } from './local-pipeline-options.js';
export type { PipelineMemory } from './memory-needs.js';
export { stageProcess } from './stage-process.js';
export type { RequestEnd, RequestWatcher, WatchedRequest } from './request-watch.js';
export type { RestartKind, RestartTotal } from './restart-log.js';
export type { PlaceState, Restart, RestartCounts, SupervisionStatus } from './place-state.js';
export { type ClusterFiles, certifyNode, initCluster } from './certificates.js';
export {
  type ClientVersion,
  ClusterPipeline,
  type ClusterPipelineOptions,
  type ClusterPipelineStatus,
} from './cluster-client.js';
export {
  type ClusterEvent,
  ClusterEvents,
  type ClusterEventsOptions,
  type ClusterEventType,
  followClusterEvents,
  listClusterEvents,
  type NewClusterEvent,
} from './cluster-events.js';
export { type ReplayedEvents, replayEvents } from './replay-events.js';
export { Controller, type ControllerEvent, type ControllerOptions } from './controller.js';
export { DEFAULT_GPU_MOVES, type GpuMovePolicy } from '../planner/policies.js';
export {
  deploy,
  type Deployed,
  type DeployOptions,
  drainNode,
  rollback,
  type RollbackOptions,
  undeploy,
  whenReleased,
} from './deploy.js';
export { type ScaleAppOptions, scaleApp } from './scale-app.js';
export type { ReleaseOutcome } from './release-records.js';
export { type NodeEvent, NodeManager, type NodeOptions } from './node-manager.js';
export { type AppOverview, type ClusterOverview, overview } from './overview.js';
export type { RunningPipeline } from './running-pipeline.js';
export type { VersionPipelineStatus } from './version-pipeline.js';
