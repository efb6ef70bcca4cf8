// The proxy: admits requests, sends them in, and answers their results, each once.
//
// Invariant: never more than `maxInFlight` requests are in the stages, whatever the callers do, and none is let in that
// is `maxInFlight` tickets or more behind the oldest of them: what stages must keep has a bound. A request that was
// admitted ends with its result or an error, and a result that comes twice counts once.
import { randomUUID } from 'node:crypto';
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger, checkObject } from '../core/validate.js';
import { type InboxAddress, Inbox, type InboxMessage } from '../ring/index.js';
import { Device } from '../verbs/index.js';
import { encodeMessage, messageBytes, type Parts } from './codec.js';
import { checkMeta, type Envelope } from './envelope.js';
import { allTargetsOf, Join, Joined, targetsOf } from './join.js';
import { inboxLimits, maxMessageBytes, placeSecret } from './lane-sizes.js';
import { Links } from './links.js';
import { copyTensor, type Tensor } from './tensor.js';
import { monotonicUs, type Trace } from './trace.js';
import { type Meta, REQUEST, RESULT, type Workflow } from './workflow.js';

/** What a caller asks for. */
export interface PipelineRequest {
  meta?: Meta;
  parts?: Parts;
}

/** How to run a request. */
export interface RequestOptions {
  /** The request fails with RDMA_ERR_DEADLINE after this many ms; default never. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** What one instance of a last stage answered. The tensors are the caller's own. */
export interface PipelineOutput {
  stage: string;
  instance: number;
  meta: Meta;
  parts: Record<string, Tensor>;
}

/** The result of a request. */
export interface PipelineResult {
  request: string;
  /** Of every last stage, and each of its instances when it is sharded. */
  outputs: PipelineOutput[];
  trace: Trace;
}

/** How to open the door of a pipeline. */
export interface ProxyOptions {
  workflow: Workflow;
  device: string;
  secret: string;
  /** Requests in the stages at a time, and how far the newest of them may be ahead of the oldest. */
  maxInFlight: number;
  /** Requests that may wait to be let in. */
  maxQueued: number;
  reconnectMs: number;
  resolve: (target: string) => InboxAddress;
  onFailed: (reason: RdmaError) => void;
}

interface Ticket {
  request: string;
  envelope: Envelope;
  parts: Parts;
  resolve: (result: PipelineResult) => void;
  reject: (error: RdmaError) => void;
  answered: boolean;
}

/**
 * The door of a pipeline: lets requests in, as many as may be in flight, and answers each once (OnePiece, arXiv
 * 2601.20655, section on the proxy). Made by {@link Proxy.open}.
 */
// biome-ignore lint/suspicious/noShadowRestrictedNames: the proxy of the design; modules that need the other one do not import this
export class Proxy {
  private readonly options: ProxyOptions;
  private readonly device: Device;
  private readonly join: Join;
  private readonly links: Links;
  private readonly inFlight = new Map<string, Ticket>();
  private readonly queue: Ticket[] = [];
  private inbox: Inbox | undefined;
  private tickets = 0;
  private failure: RdmaError | undefined;

  private constructor(options: ProxyOptions) {
    this.options = options;
    const { workflow, device, secret, maxInFlight, reconnectMs, resolve } = options;
    this.device = Device.open(device);
    const sinks = workflow.sinks.map((stage) => stage.name);
    this.join = new Join(workflow, RESULT, 0, sinks, device);
    this.links = new Links({
      name: 'proxy',
      device: this.device,
      secret,
      maxBytes: workflow.maxRequestBytes,
      maxInFlight,
      reconnectMs,
      resolve,
      onSettled: () => {},
      onFailed: (target, reason) => {
        this.fail(new RdmaError('RDMA_ERR_PEER_GONE', `stage ${target} does not come back: ${reason.message}`));
      },
    });
  }

  /**
   * Opens the proxy's inbox for results, and outboxes to the first stages when they are told.
   *
   * @throws RdmaError as {@link Inbox.listen}
   */
  static async open(options: ProxyOptions): Promise<Proxy> {
    const proxy = new Proxy(options);
    const { workflow, maxInFlight, secret } = options;
    const largest = Math.max(...workflow.sinks.map((stage) => stage.maxOutputBytes));
    const lanes = 2 * workflow.sinks.reduce((sum, stage) => sum + stage.instances, 0);
    try {
      proxy.inbox = await Inbox.listen({
        secret: placeSecret(secret, `${RESULT}/0`),
        device: proxy.device,
        maxLanes: lanes,
        ...inboxLimits(largest, maxInFlight),
        onMessage: (message) => proxy.onMessage(message),
      });
    } catch (error) {
      proxy.device.close();
      throw error;
    }
    return proxy;
  }

  /** Where the last stages connect. */
  get address(): InboxAddress {
    if (this.inbox === undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the proxy is closed');
    return this.inbox.bootstrap;
  }

  /** Connects to the first stages. */
  async connect(): Promise<void> {
    await this.links.connect(allTargetsOf(this.options.workflow, REQUEST));
  }

  /** Requests in the stages, and waiting to be let in. */
  get load(): { inFlight: number; queued: number } {
    return { inFlight: this.inFlight.size, queued: this.queue.length };
  }

  /**
   * Sends a request through the workflow.
   *
   * @throws RdmaError RDMA_ERR_REJECTED when too many wait already; RDMA_ERR_MESSAGE_TOO_LARGE; RDMA_ERR_DEADLINE;
   *   RDMA_ERR_ABORTED; RDMA_ERR_STAGE_FAILED when a handler threw, with its stage; RDMA_ERR_CLOSED
   */
  async run(input: PipelineRequest, options: RequestOptions = {}): Promise<PipelineResult> {
    const signal = checkAbortSignal('signal', options.signal);
    if (options.timeoutMs !== undefined) checkInteger('timeoutMs', options.timeoutMs, 1, 2 ** 31 - 1);
    if (this.failure !== undefined) throw this.failure;
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the request was aborted');
    checkObject('request', input);
    const { maxInFlight, maxQueued, workflow } = this.options;
    if (this.full && this.queue.length >= maxQueued) {
      throw new RdmaError('RDMA_ERR_REJECTED', `${maxInFlight} requests are under way and ${maxQueued} wait`, {
        remedy: 'send later, or raise maxQueued',
      });
    }
    const request = randomUUID();
    const envelope: Envelope = {
      workflow: workflow.name,
      request,
      ticket: 0, // this and what is below: when it is let in
      finishedBelow: 0,
      from: REQUEST,
      fromInstance: 0,
      sentAtUs: 0,
      deadlineAt: options.timeoutMs === undefined ? null : Date.now() + options.timeoutMs,
      trace: { tasks: [], hops: [] },
      meta: checkMeta(input.meta ?? {}),
      error: null,
    };
    // Encoded now for its checks; the parts are the caller's until the promise settles.
    const bytes = messageBytes(encodeMessage(envelope, input.parts));
    if (bytes > maxMessageBytes(workflow.maxRequestBytes)) {
      throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `a request of ${bytes} bytes`, {
        remedy: `raise maxRequestBytes of the workflow (${workflow.maxRequestBytes})`,
      });
    }
    return this.await(envelope, input.parts ?? {}, options.timeoutMs, signal);
  }

  private await(
    envelope: Envelope,
    parts: Parts,
    timeoutMs: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<PipelineResult> {
    return new Promise<PipelineResult>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const leave = (error: RdmaError) => {
        const at = this.queue.indexOf(ticket);
        if (at >= 0) this.queue.splice(at, 1);
        ticket.reject(error);
      };
      const onAbort = () => leave(new RdmaError('RDMA_ERR_ABORTED', 'the request was aborted'));
      const settle = () => {
        ticket.answered = true;
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      const ticket: Ticket = {
        request: envelope.request,
        envelope,
        parts,
        answered: false,
        resolve: (result) => {
          settle();
          resolve(result);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      if (timeoutMs !== undefined) {
        const late = () => leave(new RdmaError('RDMA_ERR_DEADLINE', `no result within ${timeoutMs} ms`));
        timer = setTimeout(late, timeoutMs);
      }
      signal?.addEventListener('abort', onAbort);
      this.queue.push(ticket);
      this.admit();
    });
  }

  /** Ticket of the oldest request in the stages, or of the next one. */
  private get oldest(): number {
    for (const ticket of this.inFlight.values()) return ticket.envelope.ticket;
    return this.tickets;
  }

  private get full(): boolean {
    return this.tickets - this.oldest >= this.options.maxInFlight;
  }

  private admit(): void {
    while (!this.full) {
      const ticket = this.queue.shift();
      if (ticket === undefined) return;
      ticket.envelope.ticket = this.tickets++;
      this.inFlight.set(ticket.request, ticket);
      this.send(ticket).catch((error) => {
        this.inFlight.delete(ticket.request);
        if (!ticket.answered) ticket.reject(asRdmaError(error));
        this.admit();
      });
    }
  }

  private async send(ticket: Ticket): Promise<void> {
    const { envelope } = ticket;
    envelope.sentAtUs = monotonicUs();
    envelope.finishedBelow = this.oldest;
    const pieces = encodeMessage(envelope, ticket.parts);
    const targets = targetsOf(this.options.workflow, REQUEST, envelope.ticket);
    await this.links.send(new Joined(envelope, []), targets, pieces);
  }

  private onMessage(message: InboxMessage): void {
    let joined: Joined | undefined;
    try {
      joined = this.join.take(message);
    } catch {
      return; // not a result of this pipeline; its lane holds the sender's secret, so it can only hurt itself
    }
    if (joined === undefined) return;
    const ticket = this.inFlight.get(joined.request);
    try {
      if (ticket !== undefined && !ticket.answered) this.answer(ticket, joined);
    } catch (error) {
      ticket?.reject(
        new RdmaError('RDMA_ERR_STAGE_FAILED', `the result cannot be copied: ${String(error)}`, { cause: error }),
      );
    }
    this.join.settle(joined);
    this.inFlight.delete(joined.request);
    this.join.finish(this.oldest);
    this.admit();
  }

  private answer(ticket: Ticket, joined: Joined): void {
    const { failure } = joined;
    if (failure !== undefined) {
      const code = failure.code === 'RDMA_ERR_DEADLINE' ? 'RDMA_ERR_DEADLINE' : 'RDMA_ERR_STAGE_FAILED';
      ticket.reject(new RdmaError(code, `stage ${failure.stage} failed: ${failure.message}`));
      return;
    }
    const outputs: PipelineOutput[] = [];
    for (const sink of this.options.workflow.sinks) {
      for (const { stage, instance, meta, parts } of joined.from(sink.name)) {
        const own: Record<string, Tensor> = Object.create(null);
        for (const [name, part] of Object.entries(parts)) own[name] = copyTensor(part);
        outputs.push({ stage, instance, meta, parts: own });
      }
    }
    ticket.resolve({ request: joined.request, outputs, trace: joined.trace });
  }

  /** Ends every request with `reason`, and every later one. */
  fail(reason: RdmaError): void {
    if (this.failure !== undefined) return;
    this.failure = reason;
    this.rejectAll(reason);
    this.options.onFailed(reason);
  }

  private rejectAll(reason: RdmaError): void {
    for (const ticket of [...this.queue.splice(0), ...this.inFlight.values()]) {
      if (!ticket.answered) ticket.reject(reason);
    }
    this.inFlight.clear();
  }

  /** Ends every request with RDMA_ERR_CLOSED and closes what was opened. */
  async close(): Promise<void> {
    this.failure ??= new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed');
    this.rejectAll(this.failure);
    await this.inbox?.close();
    this.inbox = undefined;
    await this.links.close();
    this.device.close();
  }
}

function asRdmaError(error: unknown): RdmaError {
  return error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_PEER_GONE', String(error), { cause: error });
}
