// The jobs layer: requests that are stored before they are answered for, and their outcomes.
export { RdmaError } from '../core/errors.js';
export type { JobBackend, NewValue, Owner, RecordChange, Versioned, Written } from './backend.js';
export { decodeRequest, decodeResult, type Encoded, encodeRequest, encodeResult } from './codec.js';
export type { JobEntry, Outcome, ValueRef } from './entry.js';
export type { Job, JobEvent, JobRecord, JobState, SubmitOptions } from './job.js';
export { defaultStoreFolder, lmdbStore, type LmdbStoreOptions } from './lmdb-store.js';
export { memoryStore } from './memory-store.js';
export { redisStore, type RedisStoreOptions } from './redis-store.js';
export type { JobRunner } from './runner.js';
export { JobService, type JobServiceOptions } from './service.js';
export type { JobStorage } from './storage.js';
export { type JobFilter, JobStore, type JobStoreOptions, type JobStorePort, type NewJob } from './store.js';
