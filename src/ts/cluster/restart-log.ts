// The replaced instances of a pipeline: the last ones, and counts by kind and place.
//
// Invariant: it keeps a bounded number of restarts, however long the pipeline runs; the counts include all of them.
import type { Restart } from './place-state.js';

/**
 * Why a process was replaced: it was stopped, a task took too long, went on unwanted, or was poison; or it ended by
 * itself.
 */
export const RESTART_KINDS = ['hang', 'task-timeout', 'cancel', 'poison', 'exit'] as const;
/** One of `RESTART_KINDS`. */
export type RestartKind = (typeof RESTART_KINDS)[number];

/** How often the processes of one place were replaced, since the start of the pipeline, by why. */
export interface RestartTotal {
  readonly stage: string;
  readonly instance: number;
  readonly count: number;
  readonly kinds: Readonly<Record<RestartKind, number>>;
}

/** Older ones are forgotten. */
export const KEPT_RESTARTS = 256;

export class RestartLog {
  /** The last {@link KEPT_RESTARTS}, in order. */
  readonly last: Restart[] = [];
  private readonly counts = new Map<string, RestartTotal & { count: number; kinds: Record<RestartKind, number> }>();

  /** Takes in one more. */
  add(restart: Restart): void {
    const { stage, instance, reason } = restart;
    this.last.push(restart);
    if (this.last.length > KEPT_RESTARTS) this.last.shift();
    const name = `${stage}/${instance}`;
    const kinds = { hang: 0, 'task-timeout': 0, cancel: 0, poison: 0, exit: 0 };
    const total = this.counts.get(name) ?? { stage, instance, count: 0, kinds };
    total.count++;
    total.kinds[RESTART_KINDS.find((kind) => reason.startsWith(`${kind}:`)) ?? 'exit']++;
    this.counts.set(name, total);
  }

  /** Of each place in which one was replaced, whether there still is that place or not. */
  get totals(): readonly RestartTotal[] {
    return [...this.counts.values()];
  }
}
