// The resources that one instance of a stage needs of its node.
//
// Invariant: checked resources are plain numbers, complete and frozen; no need is 0, so that planners add and compare
// without checking for missing fields.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, invalidArgument } from '../core/validate.js';

/** The most GPUs of one instance. */
export const MAX_GPUS = 64;
const MAX_BYTES = 2 ** 50;
const MAX_CORES = 4096;
const MAX_LABELS = 32;
const LABEL = /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;

/** What one instance of a stage needs. */
export interface StageResources {
  /** GPUs: whole ones, unless `gpuMemoryBytes` says how much of each. */
  readonly gpus: number;
  /** Memory of each of its GPUs in bytes; the rest of that GPU is there for others. 0: it has its GPUs for itself. */
  readonly gpuMemoryBytes: number;
  /** Memory of the node in bytes. */
  readonly memoryBytes: number;
  /** Processor cores, fractions too. */
  readonly cores: number;
  /** Labels that the node must have, with these values. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What a stage needs that says nothing. */
export const NO_RESOURCES: StageResources = Object.freeze({
  gpus: 0,
  gpuMemoryBytes: 0,
  memoryBytes: 0,
  cores: 0,
  labels: Object.freeze({}),
});

/**
 * Checks what a stage needs and fills in its defaults.
 *
 * @param owner names the stage in errors, for example `stage diffuse`
 * @param input `gpus` 0 to 64, default 1 where `gpuMemoryBytes` is given and otherwise 0; bytes up to 2^50; `cores` 0
 *   to 4096, fractions too; `labels` up to 32
 * @returns the same needs, complete and frozen
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function checkResources(owner: string, input: unknown): StageResources {
  const given = checkObject<Partial<StageResources>>(`resources of ${owner}`, input);
  for (const key of Object.keys(given)) {
    if (Object.hasOwn(NO_RESOURCES, key)) continue;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `resources of ${owner} has no field ${key.slice(0, 60)}`, {
      remedy: `there are ${Object.keys(NO_RESOURCES).join(', ')}`,
    });
  }
  const gpuMemoryBytes = checkInteger(`gpuMemoryBytes of ${owner}`, given.gpuMemoryBytes ?? 0, 0, MAX_BYTES);
  const gpus = checkInteger(`gpus of ${owner}`, given.gpus ?? (gpuMemoryBytes > 0 ? 1 : 0), 0, MAX_GPUS);
  if (gpus === 0 && gpuMemoryBytes > 0) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${owner} needs memory of GPUs, but no GPU`, {
      remedy: 'leave out gpus, or gpuMemoryBytes',
    });
  }
  const cores = given.cores ?? 0;
  if (typeof cores !== 'number' || !(cores >= 0 && cores <= MAX_CORES)) {
    throw invalidArgument(`cores of ${owner}`, cores, `a number from 0 to ${MAX_CORES}`);
  }
  return Object.freeze({
    gpus,
    gpuMemoryBytes,
    memoryBytes: checkInteger(`memoryBytes of ${owner}`, given.memoryBytes ?? 0, 0, MAX_BYTES),
    cores,
    labels: checkLabels(owner, given.labels ?? {}),
  });
}

/**
 * Checks labels of a node, or those that a stage asks for.
 *
 * @param owner names whose they are in errors
 * @param input names and values of 1 to 63 letters, digits and `._/-` between them, 32 at most
 * @returns a frozen copy
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the label
 */
export function checkLabels(owner: string, input: unknown): Readonly<Record<string, string>> {
  const labels = checkObject<Record<string, unknown>>(`labels of ${owner}`, input);
  const names = Object.keys(labels);
  if (names.length > MAX_LABELS) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `labels of ${owner} are ${names.length}; at most ${MAX_LABELS}`);
  }
  for (const name of names) {
    if (!LABEL.test(name)) throw invalidArgument(`a label of ${owner}`, name, `a name of the form ${LABEL}`);
    const value = labels[name];
    if (typeof value !== 'string' || !LABEL.test(value)) {
      throw invalidArgument(`label ${name} of ${owner}`, value, `a string of the form ${LABEL}`);
    }
  }
  return Object.freeze({ ...(labels as Record<string, string>) });
}
