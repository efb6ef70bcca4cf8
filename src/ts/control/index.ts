// The control layer: a store through which the nodes of a cluster agree, and the records that they agree on.
export { RdmaError } from '../core/errors.js';
export { type Address, Directory, type DirectoryOptions } from './directory.js';
export { Election, type ElectionOptions, type Leader, Leadership } from './election.js';
export { type Fenced, putFenced, readFenced } from './fenced.js';
export { Holding } from './holding.js';
export { Lease } from './lease.js';
export type { LeaseOptions } from './lease-options.js';
export type { LeaseRecord } from './lease-record.js';
export { type Member, type MemberEvent, Members, type MembersOptions, type Membership } from './members.js';
export { memoryControlStore, MemoryRecords } from './memory-store.js';
export { natsControlStore, type NatsControlStoreOptions } from './nats-store.js';
export { type ControlPort, systemControlPort } from './port.js';
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
