// The rules that say which waiting tasks run together, and when.
//
// Invariant: a batch has at most `size` tasks, all of one key, in the order in which they came. No task waits for
// company longer than `waitUs`, nor past the latest time at which it must begin to meet its deadline. If several
// batches are due, the one whose first task came first begins, and a running batch takes in no task that came later
// than that: so no key waits for ever behind another one. Everything here is a pure function: time is an argument.

/** One task that waits. Times are by the clock of the process, in microseconds. */
export interface WaitingTask {
  /** Which task it is, in the order in which they came: a later one has a larger number. */
  readonly order: number;
  /** Since when it waits. */
  readonly sinceUs: number;
  /** When its request is due; Infinity: never. */
  readonly deadlineUs: number;
}

/** The tasks of one key that wait, in the order in which they came; at least one. */
export type WaitingGroup = readonly WaitingTask[];

/** What batches are made by. */
export interface BatchRules {
  /** Tasks of a batch, at most. */
  readonly size: number;
  /** How long a task may wait for company, in microseconds. */
  readonly waitUs: number;
  /** From the beginning of a batch until its results are where they are due, in microseconds; 0: not known. */
  readonly neededUs: number;
}

/** What to do now. */
export type BatchDecision =
  /** A batch begins: of this group, so many of its first tasks. */
  | { readonly group: number; readonly count: number }
  /** Nothing begins before this time unless more tasks come; Infinity: nothing waits. */
  | { readonly lookAtUs: number };

/**
 * When a group must begin, by the clock of the process in microseconds; -Infinity: now, as it is full.
 *
 * @param group in the order in which its tasks came, at least one
 */
export function dueAtUs(group: WaitingGroup, { size, waitUs, neededUs }: BatchRules): number {
  if (group.length >= size) return Number.NEGATIVE_INFINITY;
  let dueUs = group[0]!.sinceUs + waitUs;
  for (let i = 0; i < group.length; i++) dueUs = Math.min(dueUs, group[i]!.deadlineUs - neededUs);
  return dueUs;
}

/**
 * Decides whether a batch begins now, and which.
 *
 * @param groups one for each key, in any order
 * @param nowUs by the clock of the process
 */
export function decideBatch(groups: readonly WaitingGroup[], rules: BatchRules, nowUs: number): BatchDecision {
  let first = -1;
  let lookAtUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < groups.length; i++) {
    const dueUs = dueAtUs(groups[i]!, rules);
    if (dueUs > nowUs) lookAtUs = Math.min(lookAtUs, dueUs);
    else if (first < 0 || groups[i]![0]!.order < groups[first]![0]!.order) first = i;
  }
  if (first < 0) return { lookAtUs };
  return { group: first, count: Math.min(rules.size, groups[first]!.length) };
}

/**
 * How many of the first tasks of a group may join a running batch of its key.
 *
 * @param own the index of the group in `groups`
 * @param free places of the batch, at most
 * @returns 0 to `free`; none that came later than a task of another key whose batch is due and has no room
 */
export function joinCount(
  groups: readonly WaitingGroup[],
  own: number,
  free: number,
  rules: BatchRules,
  nowUs: number,
): number {
  let before = Number.POSITIVE_INFINITY;
  for (let i = 0; i < groups.length; i++) {
    if (i !== own && dueAtUs(groups[i]!, rules) <= nowUs) before = Math.min(before, groups[i]![0]!.order);
  }
  const group = groups[own]!;
  let count = 0;
  while (count < free && count < group.length && group[count]!.order < before) count++;
  return count;
}
