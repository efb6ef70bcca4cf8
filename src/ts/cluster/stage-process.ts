// The mark that this process is one of a pipeline's stages.
//
// Invariant: it is known before the workflow's module is imported, and to every copy of this package that is loaded
// here; a process that a stage starts does not have it.

/** On `process`, so that copies of this package that are loaded side by side see it. */
const MARK = Symbol.for('onepiece-rdma.stageProcess');

/** Says from now on that this process is at that place. */
export function markStageProcess(place: string): void {
  Object.defineProperty(process, MARK, { value: place, configurable: true });
}

/**
 * Tells a process that runs a stage from one that starts a pipeline: both import the workflow's module.
 *
 * @returns the place, such as `diffuse/0`; undefined in every other process
 */
export function stageProcess(): string | undefined {
  return (process as { [MARK]?: string })[MARK];
}
