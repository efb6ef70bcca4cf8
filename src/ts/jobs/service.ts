// Jobs over a store and whatever runs requests.
//
// Invariant: a job whose submit() answered is finished, by this service, by the next one on the same store, or by
// another one beside it; and it has one outcome, the first that was stored. An outcome is stored before anyone sees it.
import { onAbort } from '../core/abort.js';
import { MAX_TIMEOUT_MS } from '../core/deadline.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkObject } from '../core/validate.js';
import type { PieceEvent, PipelineRequest, PipelineResult } from '../pipeline/index.js';
import { decodeResult, encodeRequest, requestBytes } from './codec.js';
import { hasEnded, isSameRequest, type JobEntry, recordOf } from './entry.js';
import { EventLog } from './event-log.js';
import { JobHandle } from './handle.js';
import type { Job, JobEvent, JobRecord, SubmitOptions } from './job.js';
import { anotherRequest, checkJobId, notFound } from './job-id.js';
import { OwnerLease } from './lease.js';
import { type JobRunner, outcomeEvent, runOptions } from './runner.js';
import { PieceReader, type PieceLog, streamsOf } from './piece-log.js';
import { checkJobStorage, type JobStorage } from './storage.js';
import type { JobFilter } from './store.js';
import { checkSubmit } from './submit-options.js';
import { JobWork } from './work.js';

/** How to open a {@link JobService}. */
export interface JobServiceOptions {
  /** Stays open when the service is closed. */
  store: JobStorage;
  runner: JobRunner;
  /**
   * How long a service may not be heard of until others take its jobs over, in ms, 100 to 3 600 000; default 10 000.
   * The same for all services on one store.
   */
  leaseMs?: number;
  /** How often a job is begun at most, 1 to 100, when services end in the midst of it; default 3. It fails then. */
  maxAttempts?: number;
  /** Jobs that are with the runner at a time, 1 to 65536; default 128. The others wait in the store, by priority. */
  maxRunning?: number;
  /** Events that are kept of each job, 8 to 65536; default 256. */
  maxEvents?: number;
  /** Called with what went wrong and is tried again, such as a store that is away. Default: nobody hears of it. */
  onWarning?: (error: RdmaError) => void;
}

/** Logs of jobs that have ended stay, of so many. */
const ENDED_LOGS = 1024;
/** Jobs that this service knows beyond those that run. More are claimed when some have ended. */
const MAX_BACKLOG = 4096;
const SWEEP_MS = 60_000;
/** Numbers of events after a takeover are larger than those before. */
const EVENTS_PER_TERM = 2 ** 20;

/** Jobs of one process. Made by {@link JobService.open}. */
export class JobService implements AsyncDisposable {
  private readonly store: JobStorage;
  private readonly maxRunning: number;
  private readonly maxEvents: number;
  private readonly maxAttempts: number;
  private readonly lease: OwnerLease;
  private readonly tickMs: number;
  private readonly onWarning: (error: RdmaError) => void;
  private readonly runner: JobRunner;
  private readonly works = new Map<string, JobWork>();
  private readonly backlog: JobWork[] = []; // ordered
  private readonly running = new Set<Promise<void>>();
  private readonly ended = new AbortController();
  private readonly endedLogs = new Map<string, EventLog>();
  private looking: Promise<void> | undefined;
  private ticking: Promise<void> | undefined;
  private lookAgain = false;
  private isPaused = false;
  private leftSome = false; // the last look has left jobs for others or for later
  private stopTimer: (() => void) | undefined;
  private sweptMs = Number.NEGATIVE_INFINITY;
  private closing: Promise<void> | undefined;

  private constructor(options: JobServiceOptions) {
    const {
      store,
      runner,
      leaseMs = 10_000,
      maxAttempts = 3,
      maxRunning = 128,
      maxEvents = 256,
    } = checkObject<Required<JobServiceOptions>>('options', options);
    checkInteger('leaseMs', leaseMs, 100, 3_600_000);
    this.store = checkJobStorage('store', store);
    this.runner = runner;
    this.maxAttempts = checkInteger('maxAttempts', maxAttempts, 1, 100);
    this.maxRunning = checkInteger('maxRunning', maxRunning, 1, 65_536);
    this.maxEvents = checkInteger('maxEvents', maxEvents, 8, 65_536);
    this.onWarning = options.onWarning === undefined ? () => {} : checkFunction('onWarning', options.onWarning);
    this.tickMs = Math.floor(leaseMs / 3);
    this.lease = new OwnerLease(this.store, leaseMs, this.store.port.timers);
  }

  /**
   * Opens a service: it takes over what was accepted on this store and not finished, when nobody else works on it.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_PEER_GONE when the store does not answer
   */
  static async open(options: JobServiceOptions): Promise<JobService> {
    const service = new JobService(options);
    await service.lease.join();
    await service.look();
    service.tickLater();
    return service;
  }

  // ---- Jobs

  /**
   * Submits a job. When it answers, the request is stored and the job will be done. The same id is the same job: then
   * the other options are not looked at, nor `request`, but for its `fingerprint`.
   *
   * @throws RdmaError RDMA_ERR_CONFLICT when the job of this id has another `fingerprint`; RDMA_ERR_REJECTED when there
   *   is no room in time; RDMA_ERR_STORE_FULL; RDMA_ERR_INVALID_ARGUMENT and
   *   RDMA_ERR_MESSAGE_TOO_LARGE; RDMA_ERR_PEER_GONE when the store does not answer: submit it again with its id;
   *   RDMA_ERR_CLOSED, also while the service is paused
   */
  async submit(request: PipelineRequest, options: SubmitOptions = {}): Promise<Job> {
    this.checkOpen();
    const { port } = this.store;
    const { id = port.uniqueName(), ...job } = checkSubmit(options, port.wallMs());
    const known = options.id === undefined ? undefined : await this.store.get(id);
    if (known !== undefined) {
      if (!isSameRequest(known, options.fingerprint)) throw anotherRequest(id);
      return this.job(id);
    }
    if (this.isPaused) throw new RdmaError('RDMA_ERR_CLOSED', 'no new jobs are taken now', { retryAfterMs: 1000 });
    const { deadlineMs, retryToken } = options;
    const limit = deadlineMs === undefined ? {} : { timeoutMs: deadlineMs };
    const token = retryToken === undefined ? {} : { retryToken };
    this.runner.check?.(requestBytes(request), { ...runOptions({ ...job, ...limit }), ...token });
    const encoded = encodeRequest(request);
    const { entry } = await this.store.accept({ ...job, id, owner: this.lease.owner }, encoded);
    // Also one that an earlier call has stored without hearing so.
    if (entry.owner === this.lease.owner && !hasEnded(entry)) {
      // What waits has its bytes in the store only.
      const isNext = this.running.size < this.maxRunning;
      if (this.works.size < MAX_BACKLOG) await this.takeOrRelease(entry, isNext ? encoded.bytes : undefined);
      else this.leftSome = true;
    }
    return this.job(id);
  }

  /** A job by its id, whether there is one or not. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
  job(id: string): Job {
    return new JobHandle(checkJobId(id), this);
  }

  /** What is known of jobs, the newest first. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_PEER_GONE */
  async jobs(filter: JobFilter = {}): Promise<JobRecord[]> {
    return (await this.store.list(filter)).map(recordOf);
  }

  /** @internal See Job.record. */
  async record(id: string): Promise<JobRecord> {
    const entry = await this.store.get(id);
    if (entry === undefined) throw notFound(id);
    return recordOf(entry);
  }

  /** @internal See Job.result. */
  async result(id: string, signal: AbortSignal | undefined): Promise<PipelineResult> {
    const entry = await this.whileOpen(signal, (both) => this.store.wait(id, both));
    if (entry.state !== 'done') throw RdmaError.fromJSON(entry.error);
    const bytes = await this.store.result(entry);
    if (bytes === undefined) throw notFound(id);
    return decodeResult(bytes);
  }

  /** @internal See Job.cancel. */
  async cancel(id: string): Promise<boolean> {
    const error = new RdmaError('RDMA_ERR_CANCELLED', `job ${id} was cancelled`).toJSON();
    const by = `cancel/${this.store.port.uniqueName()}`;
    if (await this.store.settle(id, { state: 'cancelled', error }, by)) {
      const work = this.works.get(id);
      work?.abandon(RdmaError.fromJSON(error));
      this.hurry(work);
      return true;
    }
    if ((await this.store.get(id)) === undefined) throw notFound(id);
    return false;
  }

  /** @internal See Job.events. */
  async *events(id: string, after: number, signal: AbortSignal | undefined): AsyncGenerator<JobEvent> {
    let last = after;
    for (;;) {
      const log = this.works.get(id)?.log ?? this.endedLogs.get(id);
      if (log === undefined) break;
      for (const event of log.after(last)) {
        last = event.number;
        yield event;
      }
      if (log.isOver) return;
      if (log.after(last).length === 0) await this.whileOpen(signal, (both) => log.next(both));
    }
    // Another process works on it, or did: what the store says.
    const entry = await this.store.get(id);
    if (entry === undefined) throw notFound(id);
    if (last < 1) {
      last = 1;
      yield { number: 1, atMs: entry.submittedAtMs, type: 'queued' };
    }
    const ended = await this.whileOpen(signal, (both) => this.store.wait(id, both));
    yield { number: last + 1, atMs: ended.endedAtMs ?? 0, ...outcomeEvent(ended) };
  }

  /** @internal See Job.pieces. */
  async *pieces(id: string, signal: AbortSignal | undefined): AsyncGenerator<PieceEvent> {
    const reader = new PieceReader();
    let last: PieceLog | undefined;
    for (let log = this.works.get(id)?.pieces; log !== undefined; log = this.works.get(id)?.pieces) {
      const own = log;
      yield* reader.all(own.streams);
      last = own;
      if (this.works.get(id)?.pieces === own) await this.whileOpen(signal, (both) => own.next(both));
    }
    const entry = await this.whileOpen(signal, (both) => this.store.wait(id, both));
    if (entry.state !== 'done') throw RdmaError.fromJSON(entry.error);
    // All of them were read while they came.
    if (last !== undefined && entry.settledBy === last.settler) return;
    yield* reader.all(streamsOf((await this.result(id, signal)).outputs));
  }

  // Waits until this service is closed, too: the store may outlive it.
  private async whileOpen<T>(signal: AbortSignal | undefined, wait: (both: AbortSignal) => Promise<T>): Promise<T> {
    this.checkOpen();
    const both = new AbortController();
    const stops = [this.ended.signal, ...(signal === undefined ? [] : [signal])].map((one) => {
      return onAbort(one, () => both.abort(one.reason));
    });
    if (signal?.aborted) both.abort(signal.reason);
    try {
      return await wait(both.signal);
    } catch (error) {
      if (this.ended.signal.aborted && !signal?.aborted) this.checkOpen();
      throw error;
    } finally {
      for (const stop of stops) stop();
    }
  }

  // ---- Work

  // Works on a job that is this service's. `bytes`: its request, where that is at hand.
  private take(entry: JobEntry, bytes: Uint8Array | undefined): void {
    if (this.works.has(entry.id)) return;
    const { port } = this.store;
    const log = new EventLog((entry.term - 1) * EVENTS_PER_TERM, this.maxEvents, () => port.wallMs());
    log.add({ type: 'queued' });
    const work = new JobWork(entry, bytes, log, {
      store: this.store,
      runner: this.runner,
      maxAttempts: this.maxAttempts,
      onWarning: this.onWarning,
    });
    this.works.set(entry.id, work);
    const { backlog } = this;
    // Behind all of the same priority.
    let at = backlog.length;
    while (at > 0 && backlog[at - 1]!.entry.priority < entry.priority) at--;
    backlog.splice(at, 0, work);
    this.beginSome();
    if (entry.deadlineAtMs === undefined || !backlog.includes(work)) return;
    const leftMs = Math.min(Math.max(1, entry.deadlineAtMs - port.wallMs()), MAX_TIMEOUT_MS);
    port.timers.after(leftMs, () => this.hurry(work), true);
  }

  // One that came while a pause or the end began is for others.
  private async takeOrRelease(entry: JobEntry, bytes: Uint8Array | undefined): Promise<void> {
    if (this.takesJobs) this.take(entry, bytes);
    else await this.store.release(entry).catch(() => {});
  }

  private beginSome(): void {
    while (this.running.size < this.maxRunning && this.backlog.length > 0 && this.takesJobs) {
      const work = this.backlog.shift()!;
      this.begin(work);
    }
  }

  private begin(work: JobWork): void {
    const running: Promise<void> = work
      .run()
      .then(() => this.giveBack(work))
      .then(() => this.onEnd(work, running));
    this.running.add(running);
  }

  // What a pause has taken from the runner. Whatever of this fails is found when the lease has ended.
  private async giveBack(work: JobWork): Promise<void> {
    if (!this.isPaused || work.log.isOver || this.closing !== undefined) return;
    await this.store.release(work.entry).catch(() => {});
  }

  // One that has an outcome already, or must have one now, does not wait for others.
  private hurry(work: JobWork | undefined): void {
    const at = work === undefined ? -1 : this.backlog.indexOf(work);
    if (at < 0) return;
    this.backlog.splice(at, 1);
    this.begin(work!);
  }

  private onEnd(work: JobWork, running: Promise<void>): void {
    const { id } = work.entry;
    this.running.delete(running);
    this.works.delete(id);
    if (work.log.isOver) this.keepLog(id, work.log);
    // Its followers look elsewhere now.
    work.log.wake();
    work.pieces?.wake();
    if (this.closing !== undefined) return;
    this.beginSome();
    if (this.leftSome && this.works.size < MAX_BACKLOG / 2) this.lookSoon();
  }

  private keepLog(id: string, log: EventLog): void {
    this.endedLogs.set(id, log);
    for (const oldest of this.endedLogs.keys()) {
      if (this.endedLogs.size <= ENDED_LOGS) break;
      this.endedLogs.delete(oldest);
    }
  }

  // ---- The store, from time to time

  private tickLater(): void {
    if (this.closing !== undefined) return;
    this.stopTimer = this.store.port.timers.after(this.tickMs, () => {
      this.ticking = this.tick().finally(() => this.tickLater());
    });
  }

  private async tick(): Promise<void> {
    try {
      if (!(await this.lease.renew())) await this.rejoin();
      await this.look();
      const nowMs = this.store.port.timers.now();
      if (nowMs - this.sweptMs < SWEEP_MS) return;
      this.sweptMs = nowMs;
      await this.store.sweep();
    } catch (error) {
      this.warn(error);
    }
  }

  // Others have taken its jobs over, or will: what it does is worth nothing any more.
  private async rejoin(): Promise<void> {
    const reason = new RdmaError('RDMA_ERR_FENCED', `${this.lease.owner} has lost its lease`);
    this.onWarning(reason);
    await this.lease.join();
    this.abandonAll(reason);
    await Promise.all(this.running);
  }

  private abandonAll(reason: RdmaError): void {
    for (const { entry, log, pieces } of this.backlog.splice(0)) {
      this.works.delete(entry.id);
      log.wake();
      pieces?.wake();
    }
    for (const work of this.works.values()) work.abandon(reason);
  }

  private lookSoon(): void {
    void this.look().catch((error) => this.warn(error));
  }

  // One look at a time; one that is asked for meanwhile follows.
  private look(): Promise<void> {
    if (this.looking !== undefined) {
      this.lookAgain = true;
      return this.looking;
    }
    this.looking = (async () => {
      try {
        do {
          this.lookAgain = false;
          await this.lookNow();
        } while (this.lookAgain && this.closing === undefined);
      } finally {
        this.looking = undefined;
      }
    })();
    return this.looking;
  }

  // Claims the jobs that nobody works on.
  private async lookNow(): Promise<void> {
    const { owner } = this.lease;
    const live = await this.lease.look();
    if (this.isPaused) return;
    this.leftSome = false;
    const waiting = [...this.backlog];
    const open = await this.store.open();
    // Another process has settled them.
    const ids = new Set(open.map(({ id }) => id));
    for (const work of waiting) if (!ids.has(work.entry.id)) this.hurry(work);
    for (const { id, owner: other } of open) {
      if (!this.takesJobs || this.lease.owner !== owner) return;
      if (this.works.has(id) || (other !== owner && live.has(other))) continue;
      if (this.works.size >= MAX_BACKLOG) {
        this.leftSome = true;
        return;
      }
      const entry = await this.store.get(id);
      if (entry === undefined || hasEnded(entry)) continue;
      const mine = entry.owner === owner ? entry : await this.store.claim(entry, owner);
      if (mine !== undefined) await this.takeOrRelease(mine, undefined);
    }
  }

  private warn(error: unknown): void {
    if (this.closing !== undefined) return;
    this.onWarning(
      isRdmaError(error)
        ? error
        : new RdmaError('RDMA_ERR_PEER_GONE', `the store failed: ${String(error)}`, { cause: error }),
    );
  }

  // ---- State and end

  private get takesJobs(): boolean {
    return this.closing === undefined && !this.isPaused;
  }

  /**
   * Begins no job any more, and takes no new ones: submit() refuses them. Jobs that no stage has begun go back to the
   * store, where another service finds them at once; without one they wait there for resume() or the next service.
   * Results, events and cancels go on. A second call waits for the same end.
   *
   * @returns when no job runs here any more; those that a stage has begun are not stopped
   */
  async pause(): Promise<void> {
    this.isPaused = true;
    await this.looking?.catch(() => {});
    const waiting = this.backlog.splice(0);
    for (const { entry, log, pieces } of waiting) {
      this.works.delete(entry.id);
      log.wake();
      pieces?.wake();
    }
    // Whatever of this fails is found by the next service when the lease has ended.
    await Promise.allSettled(waiting.map(({ entry }) => this.store.release(entry)));
    const reason = new RdmaError('RDMA_ERR_CLOSED', 'the service of jobs is paused');
    for (const work of this.works.values()) if (!work.isUnderWay) work.abandon(reason);
    while (this.running.size > 0 && this.isPaused) await Promise.all(this.running);
  }

  /** Ends a pause. @throws RdmaError RDMA_ERR_PEER_GONE when the store does not answer: it looks again later then */
  async resume(): Promise<void> {
    this.isPaused = false;
    await this.look();
  }

  /** Jobs that this service works on: with the runner, and waiting for that. */
  get load(): { running: number; queued: number } {
    return { running: this.running.size, queued: this.backlog.length };
  }

  private checkOpen(): void {
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the service of jobs is closed');
  }

  /**
   * Takes no more jobs, ends what runs and leaves it in the store, for the next service. The store stays open. A
   * second call answers the same promise.
   */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    await null; // `closing` is set before anything below looks at it
    this.stopTimer?.();
    this.ended.abort();
    const works = [...this.works.values()];
    this.abandonAll(new RdmaError('RDMA_ERR_CLOSED', 'the service of jobs is closed'));
    await Promise.all(this.running);
    // What it asks the store for meanwhile would meet a store that closes, and it may join again.
    await this.ticking;
    await this.looking?.catch(() => {});
    // Whatever of this fails is found by the next service when the lease has ended.
    await Promise.allSettled(works.map((work) => this.store.release(work.entry)));
    await this.lease.leave().catch(() => {});
  }

  /** As {@link JobService.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
