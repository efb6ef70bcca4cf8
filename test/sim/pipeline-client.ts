// The callers of a simulated pipeline: they hand requests to gateways and look at what comes back.
//
// Invariant: each request is handed in until it has ended in a process that lived; each time counts as a submission of
// its own, and each submission has one end at most.
import type { PieceEvent, PipelineResult } from '../../src/ts/pipeline/index.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import type { PlaceProcess } from './pipeline-place.js';
import type { Failing, PipelineShape, RequestShape } from './pipeline-shape.js';
import { stageName, type Work } from './pipeline-work.js';

/** How late the end of a request with a deadline may come, in virtual ms, while its gateway runs. */
const LATE_MS = 20;

/** One request, handed in to one process. */
interface Submission {
  readonly id: number;
  readonly request: RequestShape;
  readonly gateway: PlaceProcess;
  readonly atMs: number;
  /** Pieces that its caller has heard of, by `stage/instance`: how many, and of which run. */
  readonly heard: Map<string, { count: number; run: number }>;
  ended: boolean;
  /** Gives it up. */
  readonly control: AbortController | undefined;
  /** It was given up before it had ended. */
  cancelled: boolean;
}

function wordsOf({ how }: Failing): RegExp {
  // A stage that streams throws instead.
  return how === 'ends' ? /ended while it ran the request|asked to fail/ : /asked to fail/;
}

export class Client {
  /** How requests have ended, by outcome. */
  readonly outcomes: Record<string, number> = {};
  private readonly world: SimWorld;
  private readonly shape: PipelineShape;
  private readonly work: Work;
  private readonly open = new Set<RequestShape>();
  private readonly submissions: Submission[] = [];
  private lastId = 0;

  constructor(world: SimWorld, shape: PipelineShape, work: Work) {
    this.world = world;
    this.shape = shape;
    this.work = work;
    for (const request of shape.requests) this.open.add(request);
  }

  // Every stage that leaves it open.
  private get allShards(): Record<string, 'shard'> {
    const names = this.shape.stages.flatMap(({ spread }, i) => (spread === 'either' ? [stageName(i)] : []));
    return Object.fromEntries(names.map((name) => [name, 'shard']));
  }

  /** Requests that have not ended. */
  get openCount(): number {
    return this.open.size;
  }

  /** The caller of the oldest request gives it up. Answers which one that is; undefined: there is none. */
  cancel(): string | undefined {
    const found = this.submissions.find(({ ended, cancelled, gateway, control }) => {
      return control !== undefined && !ended && !cancelled && gateway.isRunning && !gateway.closed && !gateway.replaced;
    });
    if (found === undefined) return undefined;
    found.gateway.process.later(0, () => {
      found.cancelled ||= !found.ended;
      found.control!.abort();
    });
    return `request ${found.id}`;
  }

  /** A gateway has a new process: it gets the requests that have not ended. */
  begin(gateway: PlaceProcess): void {
    for (const request of this.shape.requests) {
      if (request.gateway !== gateway.id.instance || !this.open.has(request)) continue;
      const inMs = Math.max(0, request.atMs - this.world.scheduler.nowMs);
      gateway.process.later(inMs, () => this.submitWhenOpen(request, gateway));
    }
  }

  private submitWhenOpen(request: RequestShape, gateway: PlaceProcess): void {
    // Another process has its end already.
    if (!this.open.has(request) || gateway.closed) return;
    if (gateway.gateway === undefined) gateway.process.later(1, () => this.submitWhenOpen(request, gateway));
    else this.submit(request, gateway);
  }

  private submit(request: RequestShape, gateway: PlaceProcess): void {
    const { timeoutMs, abortAfterMs, viewMs, trace, hears } = request;
    const isAborted = abortAfterMs !== undefined || this.shape.faults.includes('cancel');
    const control = isAborted ? new AbortController() : undefined;
    const submission: Submission = {
      id: ++this.lastId,
      request,
      gateway,
      atMs: this.world.scheduler.nowMs,
      heard: new Map(),
      ended: false,
      control,
      cancelled: false,
    };
    this.submissions.push(submission);
    if (abortAfterMs !== undefined) gateway.process.later(abortAfterMs, () => control!.abort());
    const options = {
      views: viewMs !== undefined,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(control === undefined ? {} : { signal: control.signal }),
      ...(trace === undefined ? {} : { trace }),
      ...(hears === true ? { onPiece: (event: PieceEvent) => this.hear(submission, event) } : {}),
      ...(request.shards ? { spread: this.allShards } : {}),
    };
    gateway.gateway!.run(this.work.request(submission.id, request), options).then(
      (result) => this.succeeded(submission, result),
      (error: Error & { code?: string }) => this.failed(submission, error),
    );
  }

  // Pieces come in order, all of one run; after `restarted` from the first again.
  private hear({ id, heard, ended }: Submission, event: PieceEvent): void {
    const { stage, instance } = event;
    const place = `${stage}/${instance}`;
    const { broken } = this.world;
    const known = heard.get(place);
    if (ended) broken.push(`request ${id} has ended, and its caller hears of pieces`);
    if (event.type === 'restarted') {
      if (known === undefined) broken.push(`request ${id} hears that ${place} restarted, before its first piece`);
      heard.delete(place);
      return;
    }
    const run = this.work.checkPiece(`a piece of request ${id}`, event);
    const { count } = known ?? { count: 0 };
    if (event.number !== count) broken.push(`request ${id} hears piece ${event.number} of ${place}, not ${count}`);
    if (known !== undefined && known.run !== run) broken.push(`request ${id} hears two runs of ${place} mixed`);
    heard.set(place, { count: count + 1, run });
  }

  private ended(submission: Submission, outcome: string): void {
    const { id, request, atMs, ended } = submission;
    if (ended) this.world.broken.push(`request ${id} has ended twice`);
    submission.ended = true;
    this.open.delete(request);
    this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
    const tookMs = this.world.scheduler.nowMs - atMs - submission.gateway.stoppedMs;
    const { timeoutMs } = request;
    if (timeoutMs !== undefined && tookMs > timeoutMs + LATE_MS) {
      this.world.broken.push(`request ${id} with ${timeoutMs} ms has ended after ${tookMs.toFixed(3)} ms`);
    }
  }

  private succeeded(submission: Submission, result: PipelineResult): void {
    const { id, request, gateway } = submission;
    this.ended(submission, 'result');
    if (submission.cancelled) this.world.broken.push(`request ${id} has a result, though it was given up before`);
    if (request.fails?.always) this.world.broken.push(`request ${id} has a result, though a handler failed`);
    this.work.checkResult(id, result);
    if (request.hears === true) {
      for (const { stage, instance, meta, pieces } of result.outputs) {
        const { count, run } = submission.heard.get(`${stage}/${instance}`) ?? { count: 0, run: undefined };
        const place = `${stage}/${instance}`;
        if (count !== (pieces?.length ?? 0)) this.world.broken.push(`request ${id} heard ${count} pieces of ${place}`);
        if (run !== undefined && run !== this.work.runOf(place, meta)) {
          this.world.broken.push(`request ${id} heard another run of ${place} than it has the result of`);
        }
      }
    }
    if (request.viewMs === undefined) return;
    gateway.process.later(this.world.choices.delay(0, request.viewMs), () => {
      if (gateway.closed) return;
      this.work.checkViews(id, result);
      result.release();
    });
  }

  private failed(submission: Submission, error: Error & { code?: string }): void {
    const { id, request, gateway } = submission;
    // Its caller has died with it, or knows that the gateway is about to end.
    if (gateway.process.state === 'dead' || gateway.closed || gateway.replaced) return;
    const { code = '' } = error;
    this.ended(submission, code);
    const mayFail =
      (code === 'RDMA_ERR_DEADLINE' && request.timeoutMs !== undefined) ||
      (code === 'RDMA_ERR_REJECTED' && request.timeoutMs !== undefined) ||
      (code === 'RDMA_ERR_ABORTED' && (request.abortAfterMs !== undefined || submission.cancelled)) ||
      (code === 'RDMA_ERR_STAGE_FAILED' && request.fails !== undefined && wordsOf(request.fails).test(error.message));
    if (!mayFail) this.world.broken.push(`request ${id} has failed: ${error.message}`);
  }
}
