// What is known of the Python process of a stage.

/** Part of {@link StageInstanceStatus} where a stage is in Python. */
export interface PythonStatus {
  /** Of the process that runs its code; undefined while it starts. */
  readonly pid: number | undefined;
  /** Whether it takes tasks. */
  readonly isReady: boolean;
  /** How often it was replaced, since its stage process started. */
  readonly restarts: number;
  /** How the last one ended; undefined: none has. */
  readonly lastEnd: string | undefined;
  /**
   * Bytes of tensors that were copied on their way into and out of Python, since the start: small ones that come in and
   * go out through a lane, and what the code itself asks to be copied.
   */
  readonly copiedBytes: number;
  /** Pieces of memory that it has mapped. */
  readonly segments: number;
  /** Bytes that it printed too fast, and that are in no log, since the start. */
  readonly droppedLogBytes: number;
}
