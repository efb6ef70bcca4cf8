// The status of the Python process of a stage.

/** Part of {@link PythonStatus}: outputs that its code makes on a GPU. */
export interface GpuOutputStatus {
  /** Whether other processes can be given memory of its GPU; `why` says why not. */
  readonly isOffered: boolean;
  /** Outputs that stayed on the GPU (CUDA IPC), since the start. */
  readonly shared: number;
  /** Outputs that went through memory of the host, since the start. */
  readonly throughHost: number;
  /** Why the last one went through the host, or why all do; undefined: none has. */
  readonly why: string | undefined;
  /** Outputs on the GPU that somebody has not acknowledged. */
  readonly held: number;
}

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
  /** Of outputs on a GPU. */
  readonly gpu: GpuOutputStatus;
  /** Bytes that it printed too fast, and that are in no log, since the start. */
  readonly droppedLogBytes: number;
}
