// The cluster layer: pipelines as sets of processes.
export { RdmaError } from '../core/errors.js';
export { LocalPipeline, type LocalPipelineOptions, type PipelineEvent, type Restart } from './local-pipeline.js';
