// What the doctor has found.
//
// Invariant: a finding says what was seen on this machine; one that is worse than a note also says what to do.

/** `problem`: something will not work; `warning`: it works, but not everywhere or not well; `note`: good to know. */
export type Severity = 'ok' | 'note' | 'warning' | 'problem';

/** See docs/doctor.md for the list. */
export interface Finding {
  /** Stable, for programs, such as `memlock`. */
  id: string;
  severity: Severity;
  /** What was looked at and what it is. */
  seen: string;
  /** What to do about it; null where nothing is needed. */
  remedy: string | null;
}

export const ok = (id: string, seen: string): Finding => ({ id, severity: 'ok', seen, remedy: null });
export const note = (id: string, seen: string, remedy: string | null = null): Finding => ({
  ...{ id, severity: 'note', seen, remedy },
});
export const warning = (id: string, seen: string, remedy: string): Finding => ({
  ...{ id, severity: 'warning', seen, remedy },
});
export const problem = (id: string, seen: string, remedy: string): Finding => ({
  ...{ id, severity: 'problem', seen, remedy },
});
