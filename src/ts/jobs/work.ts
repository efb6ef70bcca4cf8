// One service working on one job, from the claim to the outcome.
//
// Invariant: it settles at most once, under the term of its claim. What it does not settle is left as it is: a runner
// that refuses, a store that is away or a service that closes never make a job fail.
import { isRdmaError, RdmaError } from '../core/errors.js';
import { abortError, type Timers } from '../core/deadline.js';
import { onAbort } from '../core/abort.js';
import type { Parts, PieceEvent, PipelineResult, TaskEvent } from '../pipeline/index.js';
import { decodeRequest, encodeResult } from './codec.js';
import type { JobEntry, Outcome } from './entry.js';
import type { EventLog } from './event-log.js';
import { PieceLog } from './piece-log.js';
import type { JobStorage } from './storage.js';
import { isAway } from './store.js';
import { type JobRunner, outcomeEvent, runOptions } from './runner.js';

/** What a work needs of its service. */
export interface WorkContext {
  readonly store: JobStorage;
  readonly runner: JobRunner;
  readonly maxAttempts: number;
  readonly onWarning: (error: RdmaError) => void;
}

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 2000;

/** @internal */
export class JobWork {
  /** Of its result; undefined: it comes whole. */
  readonly pieces: PieceLog | undefined;
  private bytes: Uint8Array | undefined;
  private hasTask = false;
  private readonly controller = new AbortController();

  constructor(
    /** As it is known here; changed when it is begun. */
    public entry: JobEntry,
    bytes: Uint8Array | undefined,
    readonly log: EventLog,
    private readonly context: WorkContext,
  ) {
    this.bytes = bytes;
    this.pieces = context.runner.streams ? new PieceLog(settlerOf(entry)) : undefined;
  }

  /** A stage has begun it. */
  get isUnderWay(): boolean {
    return this.hasTask;
  }

  /** Nobody wants it any more here: it ends without settling. */
  abandon(reason: RdmaError): void {
    this.controller.abort(reason);
  }

  /** Works. Never rejects. */
  async run(): Promise<void> {
    const { store, onWarning } = this.context;
    const { signal } = this.controller;
    const watching = new AbortController();
    // Others may settle it: a cancel from another process.
    const settled = store.wait(this.entry.id, watching.signal).then(
      () => this.abandon(new RdmaError('RDMA_ERR_CANCELLED', 'the job has an outcome already')),
      () => {},
    );
    try {
      const outcome = await this.outcome();
      if (outcome !== undefined) {
        const { id, term } = this.entry;
        await this.patiently(() => store.settle(id, outcome, settlerOf(this.entry), term));
      }
    } catch (error) {
      if (!signal.aborted) onWarning(asRdmaError(error));
    }
    watching.abort();
    await settled;
    await this.logOutcome();
  }

  // The outcome may be another one's.
  private async logOutcome(): Promise<void> {
    try {
      const entry = await this.context.store.get(this.entry.id);
      if (entry?.endedAtMs !== undefined) this.log.add(outcomeEvent(entry));
    } catch {
      // Whoever follows the job asks the store.
    }
  }

  private async outcome(): Promise<Outcome | undefined> {
    const { store, maxAttempts } = this.context;
    const { attempts } = this.entry;
    if (attempts >= maxAttempts) {
      const text = `the job was begun ${attempts} times, and each time its process ended before its outcome`;
      return failure(new RdmaError('RDMA_ERR_STAGE_FAILED', text));
    }
    if (this.leftMs() <= 0) return failure(this.late());
    const begun = await this.patiently(() => store.begin(this.entry));
    if (begun === undefined) return undefined;
    this.entry = begun;
    const bytes = this.bytes ?? (await this.patiently(() => store.request(begun)));
    this.bytes = undefined;
    if (bytes === undefined) {
      const now = await this.patiently(() => store.get(begun.id));
      if (now?.term !== begun.term || now.endedAtMs !== undefined) return undefined;
      return failure(new RdmaError('RDMA_ERR_PROTOCOL', 'the stored request is gone'));
    }
    this.log.add({ type: 'started' });
    try {
      const result = await this.runPatiently(bytes);
      const encoded = encodeResult(result);
      result.release();
      return { state: 'done', ...encoded };
    } catch (error) {
      if (this.controller.signal.aborted) return undefined;
      // Its runner is closed: the next service runs it.
      if (isRdmaError(error) && error.code === 'RDMA_ERR_CLOSED') return undefined;
      return failure(asRdmaError(error));
    }
  }

  // An accepted job is not refused: the runner is asked again when it says.
  private async runPatiently(bytes: Uint8Array): Promise<PipelineResult> {
    const { store, runner } = this.context;
    const { signal } = this.controller;
    const request = decodeRequest(bytes);
    let retryToken: string | undefined;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      const leftMs = this.leftMs();
      if (leftMs <= 0) throw this.late();
      const limit = leftMs === Number.POSITIVE_INFINITY ? {} : { timeoutMs: Math.ceil(leftMs) };
      const token = retryToken === undefined ? {} : { retryToken };
      try {
        const own = { signal, onTask: this.onTask, ...(this.pieces === undefined ? {} : { onPiece: this.onPiece }) };
        const options = { ...runOptions({ ...this.entry, ...limit }), ...token, ...own };
        this.pieces?.begin();
        return await runner.run(request, options);
      } catch (error) {
        if (!isRdmaError(error) || error.code !== 'RDMA_ERR_REJECTED') throw error;
        // No retry would be in time.
        if (error.retryAfterMs === undefined && leftMs !== Number.POSITIVE_INFINITY) throw error;
        retryToken = error.retryToken;
        const waitMs = Math.min(Math.max(error.retryAfterMs ?? pauseMs, 1), MAX_PAUSE_MS, this.leftMs());
        if (waitMs > 0) await pause(store.port.timers, waitMs, signal);
      }
    }
  }

  private leftMs(): number {
    const { deadlineAtMs } = this.entry;
    return deadlineAtMs === undefined ? Number.POSITIVE_INFINITY : deadlineAtMs - this.context.store.port.wallMs();
  }

  private late(): RdmaError {
    const { deadlineAtMs = 0, submittedAtMs } = this.entry;
    return new RdmaError('RDMA_ERR_DEADLINE', `no result within ${deadlineAtMs - submittedAtMs} ms`);
  }

  private readonly onTask = (event: TaskEvent): void => {
    this.hasTask = true;
    const { type, stage, instance, done, step, preview, remainingMs } = event;
    this.log.add({
      type: type === 'done' || type === 'failed' ? 'task-done' : type,
      stage,
      instance,
      ...(done === undefined ? {} : { done }),
      ...(step === undefined ? {} : { step }),
      ...(preview === undefined ? {} : { preview: textOf(preview) }),
      ...(remainingMs === undefined ? {} : { remainingMs }),
    });
  };

  private readonly onPiece = (event: PieceEvent): void => {
    this.pieces?.add(event);
    const { type, stage, instance } = event;
    if (type === 'restarted') this.log.add({ type, stage, instance });
    else this.log.add({ type, stage, instance, piece: event.number, parts: bytesOfParts(event.parts) });
  };

  // Asks a store that is away, or full, until it answers. Only for what may be done twice.
  private async patiently<T>(ask: () => Promise<T>): Promise<T> {
    const { store, onWarning } = this.context;
    const { signal } = this.controller;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      try {
        return await ask();
      } catch (error) {
        if (!isAway(error) && !(isRdmaError(error) && error.code === 'RDMA_ERR_STORE_FULL')) throw error;
        if (pauseMs === FIRST_PAUSE_MS) onWarning(asRdmaError(error));
      }
      await pause(store.port.timers, pauseMs, signal);
    }
  }
}

/** @internal By which name a work on a job settles it. */
export const settlerOf = ({ owner, term }: JobEntry): string => `${owner}/${term}`;

function bytesOfParts(parts: Parts): Record<string, number> {
  return Object.fromEntries(Object.entries(parts).map(([name, { data }]) => [name, data.byteLength]));
}

function textOf(preview: string | Uint8Array): string {
  if (typeof preview === 'string') return preview;
  return `data:application/octet-stream;base64,${Buffer.from(preview).toString('base64')}`;
}

function failure(error: RdmaError): Outcome {
  return { state: 'failed', error: error.toJSON() };
}

function asRdmaError(error: unknown): RdmaError {
  if (isRdmaError(error)) return error;
  return new RdmaError('RDMA_ERR_STAGE_FAILED', `the request failed: ${String(error)}`, { cause: error });
}

function pause(timers: Timers, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal));
      return;
    }
    const stopTimer = timers.after(ms, () => {
      stopListening();
      resolve();
    });
    const stopListening = onAbort(signal, () => {
      stopTimer();
      reject(abortError(signal));
    });
  });
}
