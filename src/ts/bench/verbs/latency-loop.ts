// The round of every latency test: post, wait for the completion, wait for the answer.
//
// Invariant: a sample is the time from before a post to the end of its round, and the next begins where it ended, as
// in perftest; a pause for the event loop lies between two samples. Nothing here allocates.
import { type CompletionQueue, type QueuePair, SendFlags } from '../../verbs/index.js';
import { Advance, checkCompletion, type Loop, POLL_SPINS, TURN_MS } from './loop.js';
import type { Side } from './side.js';

/** The part of a side: it begins each round, it answers, or the other side takes no part. */
export type Role = 'starts' | 'answers' | 'alone';

const POST = 0;
const COMPLETION = 1;
const ARRIVAL = 2;
/** How often the side that takes no samples looks at the clock: every so many rounds, less one. */
const CLOCK_MASK = 1023;

export abstract class LatencyLoop implements Loop {
  /** Rounds of this size so far. */
  progress = 0;
  protected readonly qp: QueuePair;
  private readonly cq: CompletionQueue;
  private readonly spins: number;
  private readonly role: Role;
  private step: number;
  private begun = 0;
  private end = 0;
  private samples: Float64Array = new Float64Array(0);
  private sampled = 0;

  /** @param sleeps whether the loop answers IDLE at the first look in vain */
  constructor(side: Side, role: Role, sleeps: boolean, arrivalSpins = POLL_SPINS) {
    this.qp = side.qps[0]!;
    this.cq = side.sendCq;
    this.role = role;
    this.step = role === 'answers' ? ARRIVAL : POST;
    this.spins = sleeps ? 1 : Math.max(arrivalSpins, POLL_SPINS);
  }

  /** Hands down the request of round `round`. */
  protected abstract post(round: number): void;
  /** Whether the other side's message of round `round` is here; asked again until it is. */
  protected abstract arrived(round: number): boolean;

  /**
   * The next `rounds` rounds.
   *
   * @param samples where their times go, in milliseconds, from index 0; empty when they are not wanted
   */
  begin(rounds: number, samples: Float64Array): void {
    this.end = this.progress + rounds;
    this.samples = samples;
    this.sampled = 0;
  }

  advance(): Advance {
    const { end, role, samples, spins, cq } = this;
    const first = role === 'answers' ? ARRIVAL : POST;
    const afterCompletion = role === 'alone' ? POST : ARRIVAL;
    const wantsSamples = samples.length > 0;
    const entered = performance.now();
    const turnAt = entered + TURN_MS;
    let { step, progress: round, sampled } = this;
    let begun = step === first ? entered : this.begun;
    let state: Advance = Advance.DONE;
    let looks = 0;
    while (round < end) {
      if (step === POST) {
        this.post(round);
        step = COMPLETION;
      } else if (step === COMPLETION) {
        while (cq.poll(1) === 0 && ++looks < spins);
        if (looks >= spins) {
          state = Advance.IDLE;
          break;
        }
        checkCompletion(cq, 0);
        step = afterCompletion;
      } else {
        while (!this.arrived(round) && ++looks < spins);
        if (looks >= spins) {
          state = Advance.IDLE;
          break;
        }
        step = POST;
      }
      looks = 0;
      if (step !== first) continue;
      round++;
      if (wantsSamples) {
        const now = performance.now();
        samples[sampled++] = now - begun;
        begun = now;
        if (now > turnAt && round < end) {
          state = Advance.TURN;
          break;
        }
      } else if ((round & CLOCK_MASK) === 0 && round < end && performance.now() > turnAt) {
        state = Advance.TURN;
        break;
      }
    }
    this.step = step;
    this.begun = begun;
    this.sampled = sampled;
    this.progress = round;
    return state;
  }

  protected flags(sizeBytes: number, inlineBytes: number): number {
    return SendFlags.SIGNALED | (sizeBytes <= inlineBytes ? SendFlags.INLINE : 0);
  }
}
