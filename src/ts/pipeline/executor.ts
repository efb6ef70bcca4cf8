// The batches of a stage instance: it gathers tasks, hands them to the handler, and ends each on its own.
//
// Invariant: a task that was added ends once: by its output, by an error, or because nobody wants it any more; and it
// runs in one batch. `concurrency` batches run at a time; batcher.ts decides which. A batch keeps its slot until its
// handler has returned and all its tasks have ended.
import { RdmaError } from '../core/errors.js';
import { BatchTimes, UsualTime } from './batch-times.js';
import { type BatchDecision, type BatchRules, decideBatch, joinCount, type WaitingTask } from './batcher.js';
import type { BatchedTask, BatchHandler, BatchKey } from './batch-task.js';
import { type BatchesOfBatch, type BatchHost, type BatchKeyValue, RunningBatch } from './running-batch.js';
import type { JoinedInputs } from './join.js';
import type { BatchSpec } from './spec.js';

/** How batches are made. */
export interface BatchSettings extends BatchSpec {
  readonly concurrency: number;
  readonly handler: BatchHandler;
  readonly key: BatchKey | undefined;
}

/** Of the batches of a stage instance. */
export interface BatchStatus {
  /** Batches that run now. */
  readonly running: number;
  /** Keys of which tasks wait. */
  readonly keys: number;
  /** Since the start: batches that began, and tasks that joined one, at its beginning or later. */
  readonly started: number;
  readonly tasks: number;
}

interface Waiting extends WaitingTask {
  readonly key: BatchKeyValue;
  readonly joined: JoinedInputs;
  readonly task: BatchedTask;
}

/** What lies between the time that was decided and the time at which something begins, in microseconds. */
const SLACK_US = 2000;
const MAX_TIMER_MS = 2 ** 31 - 1;

export class BatchExecutor implements BatchesOfBatch {
  private readonly host: BatchHost;
  private readonly settings: BatchSettings;
  private readonly groups = new Map<BatchKeyValue, Waiting[]>(); // none is empty
  private readonly running = new Set<RunningBatch>();
  private readonly times = new BatchTimes();
  private readonly behind = new UsualTime(); // from an output until nobody needs it any more
  private order = 0;
  private waitingCount = 0;
  private lookDue = false;
  private turnDue = false;
  private looking = false;
  private stopTimer: (() => void) | undefined;
  private timerAtUs = 0; // when it ends, while there is one
  private started = 0;
  private tasks = 0;

  constructor(host: BatchHost, settings: BatchSettings) {
    this.host = host;
    this.settings = settings;
  }

  /** A task whose inputs are here. */
  add(joined: JoinedInputs): void {
    const { host } = this;
    const task = host.batchedTaskOf(joined);
    let key: BatchKeyValue;
    try {
      key = this.keyOf(task);
    } catch (error) {
      host.refuse(joined, task, error);
      return;
    }
    this.file({
      key,
      order: this.order++,
      sinceUs: joined.readyAtUs,
      deadlineUs: host.deadlineOf(joined),
      joined,
      task,
    });
    this.waitingCount++;
    if (this.lookDue) return;
    // Behind what is being done now: what came together begins together.
    this.lookDue = true;
    queueMicrotask(() => {
      this.lookDue = false;
      this.next();
    });
  }

  // A suspect is a group of its own.
  private file(waiting: Waiting): void {
    const key = this.host.isSuspect(waiting.joined) ? waiting : waiting.key;
    const group = this.groups.get(key);
    if (group === undefined) this.groups.set(key, [waiting]);
    else group.push(waiting);
  }

  /** Others run alone than before. */
  regroup(): void {
    const all = [...this.groups.values()].flat().sort((a, b) => a.order - b.order);
    this.groups.clear();
    for (const waiting of all) this.file(waiting);
  }

  private keyOf(task: BatchedTask): BatchKeyValue {
    const { key } = this.settings;
    if (key === undefined || this.host.flaw === 'mixed-keys') return '';
    const answer: unknown = key(task);
    if (typeof answer === 'string' || typeof answer === 'number') return answer;
    throw new RdmaError(
      'RDMA_ERR_HANDLER',
      `batch.key of stage ${this.host.stageName} must answer a string or a number`,
    );
  }

  /** Tasks that wait. */
  get waiting(): number {
    return this.waitingCount;
  }

  /** True when no batch runs. */
  get isIdle(): boolean {
    return this.running.size === 0;
  }

  /** What became of an output was settled so long after it was sent, in microseconds. */
  settled(us: number): void {
    this.behind.add(us);
  }

  private get rules(): BatchRules {
    const { size, waitMs } = this.settings;
    const batchUs = this.times.expectedUs(size) || 0;
    return { size, waitUs: waitMs * 1000, neededUs: batchUs + (this.behind.expectedUs || 0) + SLACK_US };
  }

  /** Begins what is due, as far as there is room. */
  next(): void {
    if (this.looking) return;
    this.looking = true;
    try {
      while (this.mayLook) {
        const keys = [...this.groups.keys()];
        const decision = decideBatch([...this.groups.values()], this.rules, this.host.nowUs());
        if (!this.follow(decision, keys)) return;
      }
    } finally {
      this.looking = false;
    }
  }

  private get mayLook(): boolean {
    const hasRoom = this.running.size < this.settings.concurrency;
    return this.host.isOpen && this.waitingCount > 0 && hasRoom && !this.turnDue;
  }

  // False when there is nothing to do now.
  private follow(decision: BatchDecision, keys: readonly BatchKeyValue[]): boolean {
    if ('lookAtUs' in decision) {
      this.lookAt(decision.lookAtUs);
      return false;
    }
    const key = keys[decision.group]!;
    // Without those that nobody wants any more it may not be due.
    if (this.dropUnwanted(key)) return true;
    // Looked at again when a batch has ended.
    if (!this.host.mayBegin(this.groups.get(key)![0]!.joined, this.running.size)) return false;
    this.start(key, this.take(key, decision.count));
    return true;
  }

  private lookAt(atUs: number): void {
    if (this.stopTimer !== undefined && this.timerAtUs === atUs) return;
    this.stopTimer?.();
    this.stopTimer = undefined;
    if (atUs === Number.POSITIVE_INFINITY) return;
    this.timerAtUs = atUs;
    const ms = Math.min(MAX_TIMER_MS, Math.max(0, (atUs - this.host.nowUs()) / 1000));
    this.stopTimer = this.host.after(ms, () => {
      this.stopTimer = undefined;
      this.next();
    });
  }

  private take(key: BatchKeyValue, count: number): Waiting[] {
    const group = this.groups.get(key)!;
    const taken = group.splice(0, count);
    if (group.length === 0) this.groups.delete(key);
    this.waitingCount -= taken.length;
    return taken;
  }

  // Requests end while they wait. True when there was one.
  private dropUnwanted(key: BatchKeyValue): boolean {
    const group = this.groups.get(key)!;
    const wanted = group.filter(({ joined }) => joined.state === 'ready');
    if (wanted.length === group.length) return false;
    for (const { joined, task } of group)
      if (joined.state !== 'ready') for (const block of task.takeBlocks()) block.release();
    this.waitingCount -= group.length - wanted.length;
    if (wanted.length === 0) this.groups.delete(key);
    else this.groups.set(key, wanted);
    return true;
  }

  private start(key: BatchKeyValue, waiting: readonly Waiting[]): void {
    const batch = new RunningBatch(this, this.host, key);
    // It has its place before anything of it can end.
    this.running.add(batch);
    const tasks = this.enter(batch, waiting);
    if (tasks.length === 0) this.running.delete(batch);
    else {
      this.started++;
      batch.run(this.settings.handler, tasks);
    }
  }

  // Those that are late already end here.
  private enter(batch: RunningBatch, waiting: readonly Waiting[]): BatchedTask[] {
    const tasks: BatchedTask[] = [];
    for (const { joined, task } of waiting) {
      const end = this.host.begin(joined, task);
      const late = task.cancelled;
      if (late !== undefined) end(undefined, late);
      else {
        batch.enter(task, end);
        tasks.push(task);
      }
    }
    batch.entered(tasks.length);
    this.tasks += tasks.length;
    this.host.begun();
    return tasks;
  }

  /** Takes up more tasks of the key of a batch. */
  poll(batch: RunningBatch): BatchedTask[] {
    const { host, groups } = this;
    const free = this.settings.size - (host.flaw === 'overfull-batch' ? 0 : batch.unfinished);
    if (!host.isOpen || free <= 0 || !groups.has(batch.key)) return [];
    for (const key of [...groups.keys()]) this.dropUnwanted(key);
    const own = [...groups.keys()].indexOf(batch.key);
    if (own < 0) return [];
    const count = joinCount([...groups.values()], own, free, this.rules, host.nowUs());
    return count === 0 ? [] : this.enter(batch, this.take(batch.key, count));
  }

  /** Tasks that began together have ended. */
  measured(size: number, us: number): void {
    this.times.add(size, us);
  }

  /** A batch has ended. */
  over(batch: RunningBatch): void {
    this.running.delete(batch);
    if (this.waitingCount === 0 || this.turnDue) return;
    const { size } = this.settings;
    for (const group of this.groups.values()) {
      if (group.length < size) continue;
      this.next();
      return;
    }
    // While a handler computes, nothing is taken out of the lanes: the rest of the next batch may be there.
    this.turnDue = true;
    this.host.soon(() => {
      this.turnDue = false;
      this.next();
    });
  }

  status(): BatchStatus {
    return { running: this.running.size, keys: this.groups.size, started: this.started, tasks: this.tasks };
  }

  /** Nothing begins any more. */
  close(): void {
    this.stopTimer?.();
    this.stopTimer = undefined;
  }
}
