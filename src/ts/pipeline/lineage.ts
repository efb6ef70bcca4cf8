// The runs of earlier stages that went into a message.
//
// A stage instance that dies may have sent its output to one follower and not to another. Its successor runs the task
// again, and a handler need not give the same output. So every message names the run of each stage that it comes from,
// and a join takes only inputs that come from the same runs.
//
// A stage that publishes pieces knows the runs that go into its stream before the first one: those of the first
// messages of all its senders. Every piece names them. When one of these senders begins again, its task here begins
// again, with another stream; so all pieces of one stream, and all streams that a task reads, are of the same runs.
//
// Invariant: two messages agree exactly when, for every stage that both come from, it was the same run. A process in a
// place has a larger incarnation than every one before it, so a smaller incarnation is always out of date.

/** The run of a stage in a message that does not come from it. */
export const NO_RUN = 0;

/** One input of a join, as lineage sees it. */
export interface Descent {
  readonly fromStage: number;
  readonly fromInstance: number;
  readonly incarnation: number;
  readonly runs: Uint32Array;
}

/**
 * Brings the runs of several inputs together.
 *
 * @param inputs of one task, those of one sharded stage side by side in the order of their instances
 * @param into one number for each stage, all {@link NO_RUN}; holds the runs of all inputs afterwards
 * @returns false when two inputs come from different runs of one stage; `into` is of no use then
 */
export function mergeRuns(inputs: readonly Descent[], into: Uint32Array): boolean {
  for (let i = 0; i < inputs.length; i++) {
    const { fromStage, runs } = inputs[i]!;
    for (let stage = 0; stage < runs.length; stage++) {
      // Instances of the sender's own stage are brought together below: each is a run of its own.
      if (stage === fromStage || runs[stage] === NO_RUN) continue;
      if (into[stage] === NO_RUN) into[stage] = runs[stage]!;
      else if (into[stage] !== runs[stage]) return false;
    }
  }
  for (let i = 0; i < inputs.length; ) {
    const { fromStage } = inputs[i]!;
    let run = 0;
    for (; i < inputs.length && inputs[i]!.fromStage === fromStage; i++) run = withShard(run, inputs[i]!);
    if (fromStage < 0) continue;
    if (into[fromStage] === NO_RUN) into[fromStage] = run;
    else if (into[fromStage] !== run) return false;
  }
  return true;
}

// The run of a stage as its followers know it: a number that identifies the incarnations of all its instances that took
// part. Two sets of incarnations have the same one with a probability of 2^-32.
function withShard(run: number, { fromInstance, incarnation }: Descent): number {
  let mixed = Math.imul(run ^ Math.imul(fromInstance + 1, 0x9e3779b1), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ incarnation, 0xc2b2ae35);
  mixed ^= mixed >>> 13;
  return mixed >>> 0 || 1;
}

/** True when both come from the same runs of the same stages. */
export function sameRuns(a: Uint32Array, b: Uint32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
