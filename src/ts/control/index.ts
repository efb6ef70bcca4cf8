// The control layer: a store that the nodes of a cluster agree through.
export { RdmaError } from '../core/errors.js';
export { memoryControlStore, MemoryRecords } from './memory-store.js';
export {
  type ControlStore,
  type Entry,
  type Json,
  MAX_KEY_LENGTH,
  MAX_VALUE_BYTES,
  type PutOptions,
  readJson,
  type Revision,
  type WatchEvent,
} from './store.js';
