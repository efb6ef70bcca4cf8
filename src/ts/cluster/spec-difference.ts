// The difference between the workflow that a worker has imported and the one that its pipeline was started with.
//
// Invariant: pure. Settings that the pipeline decides alone or sends to its workers do not count: the sizes of
// messages, the first number of instances, and how they are scaled.
import type { StageSpec, WorkflowSpec } from '../pipeline/index.js';

const LEFT_OUT: readonly string[] = ['name', 'instances', 'maxOutputBytes', 'scale'] satisfies (keyof StageSpec)[];

// As JSON, whatever the order of its properties.
function shown(value: unknown): string {
  if (value === undefined) return 'not there';
  return JSON.stringify(value, (_, inner) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/**
 * Names what differs first.
 *
 * @param started of the pipeline
 * @param own of the worker
 * @returns in words; undefined: nothing that matters
 */
export function specDifference(started: WorkflowSpec, own: WorkflowSpec): string | undefined {
  for (const { name } of started.stages) {
    if (!own.stages.some((stage) => stage.name === name)) return `it has no stage ${name}`;
  }
  for (const [i, stage] of own.stages.entries()) {
    const expected = started.stages[i];
    if (expected?.name === stage.name) continue;
    const isNew = !started.stages.some(({ name }) => name === stage.name);
    return isNew ? `stage ${stage.name} is new` : `stage ${stage.name} is number ${i + 1}, and another one was`;
  }
  for (const [i, stage] of own.stages.entries()) {
    const expected = started.stages[i]!;
    const fields = new Set([...Object.keys(expected), ...Object.keys(stage)]);
    for (const field of fields) {
      if (LEFT_OUT.includes(field)) continue;
      const [was, is] = [shown(expected[field as keyof StageSpec]), shown(stage[field as keyof StageSpec])];
      if (was !== is) return `${field} of stage ${stage.name} is ${is}, and was ${was}`;
    }
  }
  return undefined;
}
