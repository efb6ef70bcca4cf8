// A stage instance at work: takes inputs, runs the handler, sends the output on.
//
// Invariant (custody): an input is acknowledged only when everything made of it was acknowledged by the next stages,
// so whichever process dies, some process before it still holds what is needed. A handler may run twice for one
// request; its output counts once.
import { RdmaError } from '../core/errors.js';
import { type InboxAddress, Inbox, type InboxMessage } from '../ring/index.js';
import { Device } from '../verbs/index.js';
import { encodeMessage, messageBytes } from './codec.js';
import { checkMeta, type Envelope, type StageFailure } from './envelope.js';
import { allTargetsOf, Join, type Joined, targetsOf } from './join.js';
import { inboxLimits, maxMessageBytes, placeSecret } from './lane-sizes.js';
import { Links } from './links.js';
import { boundTrace, monotonicUs, type Trace } from './trace.js';
import {
  REQUEST,
  RESULT,
  type Stage,
  type StageInput,
  type StageOutput,
  type StageTask,
  type Workflow,
} from './workflow.js';

export { RESULT };

/** What an instance of a stage has to know. */
export interface StageRuntimeOptions {
  workflow: Workflow;
  stage: string;
  instance: number;
  /** Name of the device. */
  device: string;
  /** Shared by all processes of the pipeline. */
  secret: string;
  /** Requests that the proxy lets in at a time. */
  maxInFlight: number;
  /** How long the next stage may be away, in ms. */
  reconnectMs: number;
  /** Where an instance (`stage/0`) is now; throws when it is not known yet. */
  resolve: (target: string) => InboxAddress;
  /** Told what the instance does. */
  onEvent: (event: StageEvent) => void;
}

/** What a stage instance tells about itself. */
export type StageEvent =
  | { type: 'task'; request: string }
  | { type: 'progress'; request: string; done: number }
  | { type: 'done'; request: string; queueUs: number; computeUs: number; failed: boolean }
  | { type: 'refused'; reason: string }
  | { type: 'failed'; reason: string };

const MAX_FAILURE_CHARS = 2000;
const MAX_TIMER_MS = 2 ** 31 - 1;

/** One instance of a stage: takes tasks from its inbox, runs the handler, hands on what it made. */
export class StageRuntime {
  private readonly options: StageRuntimeOptions;
  private readonly stage: Stage;
  private readonly device: Device;
  private readonly join: Join;
  private readonly links: Links;
  private readonly ready: Joined[] = [];
  private readonly early: InboxMessage[] = []; // came before the links were there
  private readonly tasks = new Set<AbortController>(); // of the handlers that run
  private ending = false;
  private inbox: Inbox | undefined;
  private running = 0;
  private linked = false;

  private constructor(options: StageRuntimeOptions) {
    this.options = options;
    this.stage = options.workflow.get(options.stage);
    this.device = Device.open(options.device);
    const { workflow, instance, device, secret, maxInFlight, reconnectMs, resolve } = options;
    this.join = new Join(workflow, this.stage.name, instance, this.stage.after, device);
    this.links = new Links({
      name: `${this.stage.name}/${instance}`,
      device: this.device,
      secret,
      maxBytes: this.stage.maxOutputBytes,
      maxInFlight,
      reconnectMs,
      resolve,
      onSettled: (joined) => this.join.settle(joined),
      onFailed: (target, reason) => options.onEvent({ type: 'failed', reason: `${target}: ${reason.message}` }),
    });
  }

  /**
   * Opens the instance's inbox.
   *
   * @throws RdmaError RDMA_ERR_NO_DEVICE, ENOMEM, RDMA_ERR_INVALID_ARGUMENT
   */
  static async open(options: StageRuntimeOptions): Promise<StageRuntime> {
    const runtime = new StageRuntime(options);
    try {
      runtime.inbox = await Inbox.listen({
        secret: placeSecret(options.secret, `${runtime.stage.name}/${options.instance}`),
        device: runtime.device,
        maxLanes: runtime.maxLanes,
        ...inboxLimits(runtime.largestInput, options.maxInFlight),
        onMessage: (message) => runtime.onMessage(message),
      });
    } catch (error) {
      runtime.device.close();
      throw error;
    }
    return runtime;
  }

  private get largestInput(): number {
    const { workflow } = this.options;
    return Math.max(
      ...this.stage.after.map((name) =>
        name === REQUEST ? workflow.maxRequestBytes : workflow.get(name).maxOutputBytes,
      ),
    );
  }

  // Every sender once, and once more while a replaced one is being fenced.
  private get maxLanes(): number {
    const { workflow } = this.options;
    return 2 * this.stage.after.reduce((sum, name) => sum + (name === REQUEST ? 1 : workflow.get(name).instances), 0);
  }

  /** Where the stages before connect. */
  get address(): InboxAddress {
    if (this.inbox === undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the stage is closed');
    return this.inbox.bootstrap;
  }

  /** All places that this instance sends to, as `stage/0`. */
  get targets(): string[] {
    return orResult(allTargetsOf(this.options.workflow, this.stage.name));
  }

  /** Connects to the stages behind; tasks begin when it has. */
  async connect(): Promise<void> {
    await this.links.connect(this.targets);
    this.linked = true;
    for (const message of this.early.splice(0)) this.onMessage(message);
  }

  private onMessage(message: InboxMessage): void {
    if (!this.linked) {
      this.early.push(message);
      return;
    }
    let joined: Joined | undefined;
    try {
      joined = this.join.take(message);
    } catch (error) {
      this.options.onEvent({ type: 'refused', reason: error instanceof Error ? error.message : String(error) });
      return;
    }
    if (joined === undefined) return;
    this.ready.push(joined);
    this.next();
  }

  private next(): void {
    while (this.running < this.stage.concurrency) {
      const joined = this.ready.shift();
      if (joined === undefined || this.ending) return;
      this.running++;
      this.run(joined)
        .catch((error) => {
          if (!this.ending) this.options.onEvent({ type: 'failed', reason: wordsOf(error) });
        })
        .finally(() => {
          this.running--;
          this.next();
        });
    }
  }

  private async run(joined: Joined): Promise<void> {
    if (this.finished(joined)) return;
    const { request, trace } = joined;
    const { onEvent } = this.options;
    const startUs = monotonicUs();
    const queueUs = startUs - joined.readyAtUs;
    let failure = joined.failure;
    let output: StageOutput = {};
    let pieces: Uint8Array[] | undefined;
    if (failure === undefined) {
      onEvent({ type: 'task', request });
      try {
        output = await this.handle(joined);
      } catch (error) {
        failure = this.failureOf(error);
      }
      const computeUs = monotonicUs() - startUs;
      trace.tasks.push({ stage: this.stage.name, instance: this.options.instance, queueUs, computeUs });
      if (this.ending || this.finished(joined)) return;
      try {
        if (failure === undefined) pieces = this.encode(joined, trace, output, null);
      } catch (error) {
        failure = this.failureOf(error);
      }
      onEvent({ type: 'done', request, queueUs, computeUs, failed: failure !== undefined });
    }
    pieces ??= this.encode(joined, trace, {}, failure ?? null);
    await this.links.send(joined, this.targetsFor(joined.ticket), pieces);
    joined.release();
  }

  // The proxy has the result already: this is a second run, and nobody waits for it.
  private finished(joined: Joined): boolean {
    if (joined.ticket >= this.join.finishedBelow) return false;
    this.join.settle(joined);
    return true;
  }

  private targetsFor(ticket: number): string[] {
    return orResult(targetsOf(this.options.workflow, this.stage.name, ticket));
  }

  // Without parts and meta, what is encoded always fits.
  private encode(joined: Joined, trace: Trace, output: StageOutput, error: StageFailure | null): Uint8Array[] {
    const envelope: Envelope = {
      workflow: this.options.workflow.name,
      request: joined.request,
      ticket: joined.ticket,
      finishedBelow: this.join.finishedBelow,
      from: this.stage.name,
      fromInstance: this.options.instance,
      sentAtUs: monotonicUs(),
      deadlineAt: joined.deadlineAt,
      trace: boundTrace(trace),
      meta: checkMeta(output.meta ?? {}),
      error,
    };
    const pieces = encodeMessage(envelope, output.parts ?? {});
    const bytes = messageBytes(pieces);
    if (bytes > maxMessageBytes(this.stage.maxOutputBytes)) {
      throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `an output of ${bytes} bytes`, {
        remedy: `raise maxOutputBytes of stage ${this.stage.name} (${this.stage.maxOutputBytes})`,
      });
    }
    return pieces;
  }

  private async handle(joined: Joined): Promise<StageOutput> {
    const { stage } = this;
    const { instance, onEvent } = this.options;
    const leftMs = joined.deadlineAt === null ? undefined : joined.deadlineAt - Date.now();
    const late = () => new RdmaError('RDMA_ERR_DEADLINE', `the deadline passed in stage ${stage.name}`);
    if (leftMs !== undefined && leftMs <= 0) throw late();
    const control = new AbortController();
    const timer =
      leftMs === undefined ? undefined : setTimeout(() => control.abort(late()), Math.min(leftMs, MAX_TIMER_MS));
    const inputs = (name: string): StageInput[] => {
      const found = joined.from(name);
      if (found.length === 0) {
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${stage.name} has no input from ${name}`);
      }
      return found;
    };
    const task: StageTask = {
      request: joined.request,
      stage: stage.name,
      instance,
      instances: stage.instances,
      signal: control.signal,
      inputs,
      input: (name) => inputs(name)[0]!,
      progress: (done) => onEvent({ type: 'progress', request: joined.request, done }),
    };
    this.tasks.add(control);
    try {
      const output = await stage.handler(task);
      if (typeof output !== 'object' || output === null) {
        throw new RdmaError('RDMA_ERR_HANDLER', 'the handler answers no {meta, parts}');
      }
      return output;
    } catch (error) {
      // Whatever a handler throws because of the signal, the reason is the signal's.
      throw control.signal.aborted ? control.signal.reason : error;
    } finally {
      this.tasks.delete(control);
      clearTimeout(timer);
    }
  }

  private failureOf(error: unknown): StageFailure {
    const code = error instanceof RdmaError ? error.code : 'RDMA_ERR_HANDLER';
    return { stage: this.stage.name, code, message: wordsOf(error).slice(0, MAX_FAILURE_CHARS) };
  }

  /** Ends the instance at once; what it has not finished stays with the stages before it. */
  async close(): Promise<void> {
    this.ending = true;
    for (const task of this.tasks) task.abort(new RdmaError('RDMA_ERR_CLOSED', 'the stage is being closed'));
    await this.inbox?.close();
    this.inbox = undefined;
    await this.links.close();
    this.device.close();
  }
}

// What has nobody behind it is the result.
function orResult(targets: string[]): string[] {
  return targets.length === 0 ? [`${RESULT}/0`] : targets;
}

// Handlers throw what they like, even what cannot be shown.
function wordsOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return 'an error that has no words';
  }
}
