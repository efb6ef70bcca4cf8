// Requests to a subject: so many under way at a time, one after a rest, or none.
//
// Invariant: the load is steady while it is measured: every slot sends its next request as soon as it has checked its
// last result, from the warm-up until after the measurement. A sample is the time from before a request is given to
// the subject until its result is held; stamping and checking are in no sample.
import { setTimeout as sleep } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import { percentile } from '../kit/statistics.js';
import { checkTree, cpuUsOf, memoryOf, treeOf } from '../kit/processes.js';
import { RequestBytes } from './request-bytes.js';
import type { Measured, Subject } from './subject.js';

/** The tail beyond p99.9 needs no more; a measurement ends early with them. */
export const MAX_SAMPLES = 2 ** 20;
/** A measurement goes on until there are so many. */
const MIN_SAMPLES = 5;
/** Warmed up: the median of some windows in a row was not better than the best before them by this much. */
const WINDOW_MS = 250;
const CALM_WINDOWS = 3;
const BETTER = 0.97;
const MIN_WARM_UP_MS = 1000;
export const MAX_WARM_UP_MS = 10_000;
const LOOK_MS = 1000;
const STALLED_MS = 60_000;
/** V8 collects garbage some seconds after a process has become idle; that is over by then. */
export const SETTLE_MS = 10_000;

interface Interval {
  beginMs: number;
  endMs: number;
  requests: number;
  samples: number;
  resolve: (nowMs: number) => void;
  reject: (reason: unknown) => void;
}

export class Load {
  private readonly subject: Subject;
  private readonly sizeBytes: number;
  private readonly samplesUs = new Float64Array(MAX_SAMPLES);
  private slots: Promise<void>[] = [];
  private next = 0;
  private stopping = false;
  private interval: Interval | undefined;
  private failure: unknown;
  private lastMs = 0;
  private watch: NodeJS.Timeout | undefined;
  private onFailed: () => void = () => {};

  constructor(subject: Subject, sizeBytes: number) {
    this.subject = subject;
    this.sizeBytes = sizeBytes;
  }

  // ---- Requests without a pause

  /** Sends until stop() with `inFlight` requests under way. */
  start(inFlight: number): void {
    this.stopping = false;
    this.lastMs = performance.now();
    this.watch = setInterval(() => this.look(), LOOK_MS);
    this.slots = Array.from({ length: inFlight }, () =>
      this.slot(new RequestBytes(this.sizeBytes)).catch((error) => this.fail(error)),
    );
  }

  private async slot(request: RequestBytes): Promise<void> {
    const { subject } = this;
    let first = true;
    while (!this.stopping) {
      const number = this.next++ >>> 0;
      request.stamp(number);
      const beginMs = performance.now();
      const answer = await subject.request(request.bytes);
      const nowMs = performance.now();
      if (first) request.checkAll(answer.bytes, number);
      else request.checkStamps(answer.bytes, number);
      answer.release();
      first = false;
      this.lastMs = nowMs;
      this.answered(beginMs, nowMs);
    }
  }

  private answered(beginMs: number, nowMs: number): void {
    const { interval } = this;
    if (interval === undefined) return;
    interval.requests++;
    if (beginMs >= interval.beginMs) this.samplesUs[interval.samples++] = (nowMs - beginMs) * 1000;
    if ((nowMs < interval.endMs || interval.samples < MIN_SAMPLES) && interval.samples < MAX_SAMPLES) return;
    this.interval = undefined;
    interval.resolve(nowMs);
  }

  private look(): void {
    if (this.subject.failed !== undefined) this.fail(this.subject.failed);
    else if (performance.now() - this.lastMs > STALLED_MS) {
      this.fail(new RdmaError('RDMA_ERR_TIMEOUT', `no result has come for ${STALLED_MS / 1000} s`));
    }
  }

  private fail(reason: unknown): void {
    this.failure ??= reason;
    this.stopping = true;
    this.interval?.reject(this.failure);
    this.interval = undefined;
    this.onFailed();
  }

  /** Counts for so long, at least until five requests have begun and ended. */
  private async count(durationMs: number): Promise<{ requests: number; samples: number; seconds: number }> {
    if (this.failure !== undefined) throw this.failure;
    const beginMs = performance.now();
    let interval: Interval | undefined;
    const endMs = await new Promise<number>((resolve, reject) => {
      interval = { beginMs, endMs: beginMs + durationMs, requests: 0, samples: 0, resolve, reject };
      this.interval = interval;
    });
    const { requests, samples } = interval!;
    return { requests, samples, seconds: (endMs - beginMs) / 1000 };
  }

  /** Until requests do not get faster any more: a service that runs for hours runs compiled code. */
  async warmUp(): Promise<void> {
    const begin = performance.now();
    let best = Number.POSITIVE_INFINITY;
    let calm = 0;
    for (;;) {
      const { samples } = await this.count(WINDOW_MS);
      const now = percentile(this.samplesUs.slice(0, samples).sort(), 0.5);
      calm = now < best * BETTER ? 0 : calm + 1;
      best = Math.min(best, now);
      const tookMs = performance.now() - begin;
      if (tookMs > MAX_WARM_UP_MS || (tookMs > MIN_WARM_UP_MS && calm >= CALM_WINDOWS)) return;
    }
  }

  /** Measures while the load goes on. @param root the process whose descendants are the subject's */
  async measure(root: number, seconds: number): Promise<Measured> {
    const pids = treeOf(root);
    const cpuBefore = cpuUsOf(pids);
    const counted = await this.count(seconds * 1000);
    const cpuUs = cpuUsOf(pids) - cpuBefore;
    checkTree(root, pids);
    return {
      samplesUs: this.samplesUs.slice(0, counted.samples),
      requests: counted.requests,
      seconds: counted.seconds,
      cpuUs,
      ...memoryOf(pids),
    };
  }

  /** Ends the load when the requests under way are answered. @throws what has failed */
  async stop(): Promise<void> {
    this.stopping = true;
    const failed = new Promise<void>((resolve) => {
      this.onFailed = resolve;
    });
    if (this.failure === undefined) await Promise.race([Promise.all(this.slots), failed]);
    clearInterval(this.watch);
    if (this.failure !== undefined) throw this.failure;
  }

  // ---- Requests now and then, or none

  /** One request after the other, each after `restMs` without any. */
  async rest(root: number, restMs: number, count: number): Promise<Measured> {
    const pids = treeOf(root);
    const cpuBefore = cpuUsOf(pids);
    const begin = performance.now();
    const request = new RequestBytes(this.sizeBytes);
    for (let i = 0; i < count; i++) {
      await sleep(restMs);
      const number = this.next++ >>> 0;
      request.stamp(number);
      const beginMs = performance.now();
      const answer = await this.within(this.subject.request(request.bytes));
      this.samplesUs[i] = (performance.now() - beginMs) * 1000;
      request.checkStamps(answer.bytes, number);
      answer.release();
    }
    const seconds = (performance.now() - begin) / 1000;
    const cpuUs = cpuUsOf(pids) - cpuBefore;
    checkTree(root, pids);
    return { samplesUs: this.samplesUs.slice(0, count), requests: count, seconds, cpuUs, ...memoryOf(pids) };
  }

  private within<T>(answer: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new RdmaError('RDMA_ERR_TIMEOUT', `no result has come for ${STALLED_MS / 1000} s`);
      timer = setTimeout(() => reject(this.subject.failed ?? error), STALLED_MS);
    });
    return Promise.race([answer, late]).finally(() => clearTimeout(timer));
  }

  /** Nothing at all, after a time in which garbage was collected. */
  async idle(root: number, seconds: number): Promise<Measured> {
    await sleep(SETTLE_MS);
    const pids = treeOf(root);
    const begin = performance.now();
    const cpuBefore = cpuUsOf(pids);
    await sleep(seconds * 1000);
    const tookS = (performance.now() - begin) / 1000;
    const cpuUs = cpuUsOf(pids) - cpuBefore;
    checkTree(root, pids);
    return { samplesUs: new Float64Array(0), requests: 0, seconds: tookS, cpuUs, ...memoryOf(pids) };
  }
}
