// A stage in Python, as its stage process runs it: tasks go to a Python process, and stay here until they have ended.
//
// Invariant: a task that a Python process has lost when it ended runs again in the next one, from the inputs that are
// held here; nobody before this stage notices. It fails when its process has ended `attempts` times while it ran alone.
// A process that does not become ready ends the stage process, which is replaced by the rules of every stage.
import { dirname, resolve } from 'node:path';
import { RdmaError } from '../../core/errors.js';
import type { BatchOutput, BatchTask, StageCode, StageOutput, StageSpec } from '../../pipeline/index.js';
import type { PythonSpec } from '../../pipeline/python-spec.js';
import type { PythonStatus } from '../../pipeline/python-status.js';
import type { Task } from '../../pipeline/task.js';
import type { Poller } from '../../ring/index.js';
import { interpreterOf, PythonChild } from './child.js';
import { Entry, type EntryHost } from './entry.js';
import { GpuOutputs, type GpuWorld } from './gpu-outputs.js';
import { type FromPython, WHY, WHY_ENDED } from './records.js';
import { MAX_SLOTS } from './mailbox.js';
import { Pulse } from './pulse.js';
import { failureOf, lastWords, shortened } from './python-errors.js';
import { Rooms } from './rooms.js';

export interface PythonStageOptions {
  stage: StageSpec;
  instance: number;
  /** The module of the workflow. */
  module: string;
  /** How long its process may be stopped, in ms. */
  heartbeatMs: number;
  /** How long its process looks for a task before it sleeps, in microseconds. */
  pollUs: number;
  /** What is known of other places, for outputs on a GPU; default nothing. */
  world?: GpuWorld | undefined;
  /** Looks at what its process answers, beside what else this process waits for. */
  poller: Poller;
  /** Called when no Python process can work. */
  onFailed: (reason: RdmaError) => void;
}

/** A process that usually answers within so long is polled for; in microseconds. One that has slept has cold caches. */
const POLLED_FOR_US = 1000;
/** A process that ends so often without having worked is not started again. */
const MAX_IDLE_ENDS = 3;
/** An input that was lost with a GPU is waited for so long, in ms; then its request is tried again from the start. */
const LOST_MS = 30_000;

const ALONE: GpuWorld = { memory: '', addressOf: () => undefined, announce: () => {} };
const hasGpus = ({ resources }: StageSpec) => (resources?.gpus ?? 0) > 0;

export class PythonStage implements EntryHost {
  readonly rooms = new Rooms();
  readonly after: readonly string[];
  inlineBytes = 0;
  readonly maxOutputBytes: number;
  readonly gpu: GpuOutputs;
  readonly code: StageCode;
  private readonly options: PythonStageOptions;
  private readonly python: PythonSpec;
  private readonly place: string;
  private child: PythonChild | undefined;
  private isReady = false;
  private wasReady = false; // this process
  private isClosing = false;
  private slots: (Entry | undefined)[] = [];
  private running = 0;
  private groups: Entry[][] = []; // those that wait for a process; the tasks of one run together
  private starting: { resolve: () => void; reject: (reason: RdmaError) => void } | undefined;
  private idleEnds = 0;
  private readonly pulse: Pulse;
  private restarts = 0;
  private copiedBytes = 0;
  private droppedBytes = 0; // of what earlier processes printed
  private lastEnd: string | undefined;
  private usualUs = Number.POSITIVE_INFINITY; // from a task's begin to its answer: near the last ones
  private begunMs = 0; // the last one

  constructor(options: PythonStageOptions) {
    const { stage, instance } = options;
    this.options = options;
    this.python = stage.python!;
    this.after = stage.after;
    this.maxOutputBytes = stage.maxOutputBytes;
    this.gpu = new GpuOutputs(options.world ?? ALONE, hasGpus(stage));
    this.place = `${stage.name}/${instance}`;
    const { heartbeatMs } = options;
    this.pulse = new Pulse(
      heartbeatMs,
      () => this.child?.pid,
      () => this.child?.kill(`it was stopped for ${heartbeatMs} ms (heartbeatMs)`, true),
    );
    this.code =
      stage.batch === undefined
        ? { handler: (task) => this.run([task as Task])[0]! }
        : { batchHandler: (tasks) => this.runBatch(tasks) };
  }

  /** Starts its process. @returns when it is ready @throws RdmaError RDMA_ERR_STAGE_FAILED with its reason */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.starting = { resolve, reject };
      this.startChild();
    });
  }

  private startChild(): void {
    const { stage, instance, module, poller, pollUs } = this.options;
    let child: PythonChild;
    try {
      child = new PythonChild(this.place, this.python, poller, {
        onRecord: (record) => this.onRecord(child, record),
        onExit: (reason, printed) => this.onExit(child, reason, printed),
      });
    } catch (error) {
      this.giveUp(error as RdmaError);
      return;
    }
    this.child = child;
    this.wasReady = false;
    child.post({
      t: 'start',
      file: resolve(dirname(module), this.python.file),
      name: this.python.name,
      stage: stage.name,
      instance,
      concurrency: stage.concurrency,
      batch: stage.batch !== undefined,
      poll: pollUs,
      gpu: hasGpus(stage),
    });
  }

  private giveUp(reason: RdmaError): void {
    const { starting } = this;
    this.starting = undefined;
    if (starting !== undefined) starting.reject(reason);
    else this.options.onFailed(reason);
  }

  // ---- Tasks

  private runBatch(tasks: readonly BatchTask[]): readonly BatchOutput[] {
    return this.run(tasks as unknown as readonly Task[]);
  }

  private run(tasks: readonly Task[]): Promise<StageOutput>[] {
    if (this.running === 0 && this.options.pollUs > 0) this.child?.wake();
    const entries = tasks.map((task) => new Entry(this, task));
    this.groups.push(entries);
    for (const entry of entries) {
      if (!this.isReady) entry.away(true);
      this.watch(entry);
    }
    this.next();
    return entries.map(({ promise }) => promise);
  }

  private watch(entry: Entry): void {
    const { task } = entry;
    let timer: NodeJS.Timeout | undefined;
    const onCancelled = (reason: RdmaError) => {
      const slot = this.slots.indexOf(entry);
      if (slot < 0) {
        entry.fail(reason);
        return;
      }
      this.child?.setCancelled(slot, WHY[reason.code] ?? WHY_ENDED);
      const { graceMs } = this.options.stage;
      timer = setTimeout(() => {
        if (!entry.isOver) this.child?.kill(`its task went on for ${graceMs} ms (graceMs) after it was cancelled`);
      }, graceMs);
    };
    task.onCancelled = onCancelled;
    entry.unwatch = () => {
      clearTimeout(timer);
      task.onCancelled = undefined;
    };
    if (task.cancelled !== undefined) onCancelled(task.cancelled);
  }

  private next(): void {
    while (this.isReady && this.groups.length > 0) {
      const group = this.groups[0]!.filter((entry) => !entry.isOver);
      if (group.length > 0 && !this.mayBegin(group)) return;
      this.groups.shift();
      if (group.length > 0) this.begin(group);
    }
  }

  private mayBegin(group: readonly Entry[]): boolean {
    if (this.running === 0) return true;
    const isAlone = group[0]!.isAlone || this.slots.some((entry) => entry?.isAlone === true);
    return !isAlone && this.running + group.length <= MAX_SLOTS;
  }

  private begin(group: readonly Entry[]): void {
    const child = this.child!;
    const isBatch = this.options.stage.batch !== undefined;
    const begun: number[] = [];
    for (const entry of group) {
      const slot = this.freeSlot();
      try {
        child.setCancelled(slot, 0);
        this.slots[slot] = entry;
        this.running++;
        entry.away(false);
        child.post(entry.describe(child, slot, !isBatch));
        begun.push(slot);
      } catch (error) {
        this.vacate(slot);
        const isGone = ['EPIPE', 'ECONNRESET', 'ENOTCONN'].includes((error as RdmaError).code);
        // Its process has ended, and that event is on its way: the next process gets the task.
        if (isGone) {
          entry.leave();
          this.groups.unshift([entry]);
          this.isReady = false;
          child.kill();
        } else entry.fail(error);
      }
    }
    if (isBatch && begun.length > 0) child.post({ t: 'run', slots: begun });
    if (this.running > 0) this.pulse.start();
    this.begunMs = performance.now();
    if (this.usualUs <= POLLED_FOR_US) this.options.poller.linger(POLLED_FOR_US);
    else this.options.poller.expect();
  }

  private freeSlot(): number {
    for (let i = 0; i < this.slots.length; i++) if (this.slots[i] === undefined) return i;
    return this.slots.length;
  }

  private vacate(slot: number): Entry | undefined {
    const entry = this.slots[slot];
    if (entry === undefined) return undefined;
    this.slots[slot] = undefined;
    this.running--;
    if (this.running === 0) this.pulse.stop();
    return entry;
  }

  // ---- What its process says

  private onRecord(child: PythonChild, record: FromPython): void {
    if (child !== this.child) return;
    if (record.t === 'ready') this.onReady(child, record.gpu);
    else if (record.t === 'failed') this.onStartFailed(record.error);
    else if (record.t === 'gpu') this.gpu.count(record.counts);
    else if (record.t !== 'hello') this.onTaskRecord(child, record);
  }

  private onReady(child: PythonChild, gpu: { probe?: string; why?: string }): void {
    this.gpu.begin(gpu, (block) => child.post({ t: 'free', block }));
    this.isReady = true;
    this.wasReady = true;
    const { starting } = this;
    this.starting = undefined;
    starting?.resolve();
    this.next();
  }

  private onStartFailed(error: string): void {
    const words = `${this.place}: ${this.python.name} of ${this.python.file} cannot start: ${shortened(error)}`;
    const isMissing = /^(ModuleNotFoundError|ImportError)\b/.test(error);
    const { child } = this;
    this.child = undefined;
    child?.kill();
    this.giveUp(
      new RdmaError('RDMA_ERR_STAGE_FAILED', words, {
        stage: this.options.stage.name,
        remedy: isMissing ? `install it for ${interpreterOf(this.python)}, or set python.interpreter` : undefined,
      }),
    );
  }

  private onTaskRecord(
    child: PythonChild,
    record: Exclude<FromPython, { t: 'hello' | 'ready' | 'failed' | 'gpu' }>,
  ): void {
    const entry = this.slots[record.slot];
    if (entry === undefined) {
      throw new RdmaError(
        'RDMA_ERR_PROTOCOL',
        `the Python process spoke of task ${record.slot}, which it does not have`,
      );
    }
    if (record.t === 'alloc') {
      const { slot, id, name, dtype, shape } = record;
      try {
        const { segment, offset, tensor } = entry.allocate(child, name, dtype, shape);
        entry.made(id, tensor);
        child.post({ t: 'output', slot, id, segment, offset });
      } catch (error) {
        child.post({ t: 'refused', slot, id, error: (error as Error).message });
      }
      return;
    }
    if (record.t === 'progress') {
      const { done, step, text, bytes } = record;
      const preview = text ?? (bytes === undefined ? undefined : Buffer.from(bytes, 'base64'));
      const details = { ...(step === undefined ? {} : { step }), ...(preview === undefined ? {} : { preview }) };
      entry.task.progress(done, details);
      return;
    }
    if (this.running === 1) {
      const us = (performance.now() - this.begunMs) * 1000;
      this.usualUs = this.usualUs < 2 * us ? this.usualUs + (us - this.usualUs) / 4 : us;
    }
    this.vacate(record.slot);
    this.idleEnds = 0;
    if (record.t === 'done') entry.finish(record);
    else if (record.t === 'lost') this.onLost(entry);
    else entry.fail(failureOf(record, entry.task));
    this.next();
  }

  // The process on whose GPU an input lay has ended, and so does its stage process: the one after that sends the input
  // again, and this task ends for the one that has it.
  private onLost(entry: Entry): void {
    entry.leave();
    const reason: unknown = entry.task.cancelled;
    if (reason !== undefined) {
      entry.fail(reason);
      return;
    }
    entry.away(true);
    entry.waitFor(LOST_MS, () => {
      const words = `an input of ${this.place} lay on a GPU whose process has ended, and did not come again`;
      return Object.assign(new RdmaError('RDMA_ERR_PEER_GONE', words), { retryable: true });
    });
  }

  /** What EntryHost asks. */
  copied(bytes: number): void {
    if (Number.isSafeInteger(bytes) && bytes > 0) this.copiedBytes += bytes;
  }

  // ---- Its end

  private onExit(child: PythonChild, reason: string, printed: string): void {
    this.droppedBytes += child.droppedBytes;
    if (child !== this.child) return;
    this.child = undefined;
    const { wasReady } = this;
    this.isReady = false;
    const lost = this.slots.filter((entry) => entry !== undefined);
    this.slots = [];
    this.running = 0;
    this.pulse.stop();
    if (this.isClosing) {
      for (const entry of lost) entry.fail(new RdmaError('RDMA_ERR_CLOSED', 'the stage is closed'));
      return;
    }
    const words = `the Python process of ${this.place} ended (${reason})`;
    const held = this.gpu.end();
    this.lastEnd = reason;
    if (lost.length === 0) this.idleEnds++;
    if (!wasReady || this.idleEnds > MAX_IDLE_ENDS) {
      this.giveUp(this.endError(`${words} before it could work`, printed));
      return;
    }
    if (held > 0) {
      // Whoever comes after this process gets its inputs again, and makes these outputs again.
      this.giveUp(this.endError(`${words}; ${held} outputs on its GPU were not acknowledged`, printed));
      return;
    }
    this.restarts++;
    process.stderr.write(`${this.place}: ${words}; it is started again\n`);
    this.runAgain(lost, child.isToBlame, `${words} while it ran this task`, printed);
    this.startChild();
  }

  private endError(words: string, printed: string): RdmaError {
    const last = printed === '' ? '' : `; it printed last: ${lastWords(printed)}`;
    return new RdmaError('RDMA_ERR_STAGE_FAILED', words + last, { stage: this.options.stage.name });
  }

  // `isToBlame`: what the tasks did has ended the process, and not this side.
  private runAgain(lost: readonly Entry[], isToBlame: boolean, words: string, printed: string): void {
    const again: Entry[][] = [];
    for (const entry of lost) {
      entry.leave();
      const reason: unknown = entry.task.cancelled;
      if (reason !== undefined) {
        entry.fail(reason);
        continue;
      }
      if (isToBlame && lost.length === 1) entry.tries++;
      if (entry.tries >= this.options.stage.attempts) {
        const times = entry.tries === 1 ? '' : `, as ${entry.tries - 1} before it did`;
        entry.fail(this.endError(words + times, printed));
        continue;
      }
      entry.isAlone = true;
      entry.away(true);
      again.push([entry]);
    }
    this.groups.unshift(...again);
  }

  // ---- State

  /** What an operator asks. */
  status(): PythonStatus {
    return {
      pid: this.child?.pid,
      isReady: this.isReady,
      restarts: this.restarts,
      lastEnd: this.lastEnd,
      copiedBytes: this.copiedBytes,
      gpu: this.gpu.status(),
      segments: this.child?.segments.size ?? 0,
      droppedLogBytes: this.droppedBytes + (this.child?.droppedBytes ?? 0),
    };
  }

  /** Ends its process; tasks that it runs fail. */
  async close(): Promise<void> {
    this.isClosing = true;
    await this.child?.stop();
    this.rooms.close();
  }
}
