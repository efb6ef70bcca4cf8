// What a service of jobs needs of a store: whoever has these methods is one, whatever its class.
//
// Invariant: the list below and the type are the same; a store that lacks a method is refused before anything is asked
// of it, by the name of the method.
import { checkObject, invalidArgument } from '../core/validate.js';
import type { JobStore } from './store.js';

const METHODS = [
  'accept',
  'get',
  'request',
  'result',
  'claim',
  'begin',
  'release',
  'settle',
  'wait',
  'forget',
  'list',
  'open',
  'sweep',
  'usage',
  'ownerName',
  'owners',
  'beat',
  'endOwner',
  'isDead',
  'close',
] as const satisfies readonly (keyof JobStore)[];

/**
 * A store of jobs: a {@link JobStore}, or any object with the same methods, of which each does what {@link JobStore}
 * says of it. `port` is where time and names come from, and `isDurable` says whether what was accepted outlives the
 * process.
 */
export type JobStorage = Pick<JobStore, (typeof METHODS)[number] | 'isDurable' | 'port'>;

/**
 * Checks that a value is a store of jobs.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming what it lacks
 */
export function checkJobStorage(name: string, value: unknown): JobStorage {
  const store = checkObject<Record<string, unknown>>(name, value);
  for (const method of METHODS) {
    if (typeof store[method] !== 'function') throw invalidArgument(`${name}.${method}`, store[method], 'a function');
  }
  if (typeof store.isDurable !== 'boolean') throw invalidArgument(`${name}.isDurable`, store.isDurable, 'a boolean');
  const port = checkObject<Record<string, unknown>>(`${name}.port`, store.port);
  for (const method of ['wallMs', 'uniqueName']) {
    if (typeof port[method] !== 'function') throw invalidArgument(`${name}.port.${method}`, port[method], 'a function');
  }
  const timers = checkObject<Record<string, unknown>>(`${name}.port.timers`, port.timers);
  for (const method of ['now', 'after']) {
    if (typeof timers[method] !== 'function')
      throw invalidArgument(`${name}.port.timers.${method}`, timers[method], 'a function');
  }
  return value as JobStorage;
}
