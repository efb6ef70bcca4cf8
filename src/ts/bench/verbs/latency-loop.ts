// The round of every latency test: post, wait for the completion, wait for the answer.
//
// Invariant: a sample is the time from before a post to before the next one, as in perftest, or to the end of its round
// where none follows at once: a pause for the event loop lies in no sample. The side that takes samples begins the
// rounds. Nothing here allocates.
import { type CompletionQueue, type QueuePair, SendFlags } from '../../verbs/index.js';
import { type HotCalls, hotCalls } from '../../addon/hot-calls.js';
import { Advance, checkCompletion, LOOKS, type Loop, POLL_SPINS, TURN_MS } from '../kit/loop.js';
import type { Side } from './side.js';

/** The part of a side: it begins each round, it answers, or the other side takes no part. */
export type Role = 'starts' | 'answers' | 'alone';

const POST = 0;
const COMPLETION = 1;
const ARRIVAL = 2;
/** How often the side that takes no samples looks at the clock: every so many rounds, less one. */
const CLOCK_MASK = 1023;
/** How often the side that waits lets others have the processor, which its peer may be waiting for. */
const YIELD_MASK = 1023;

export abstract class LatencyLoop implements Loop {
  /** Rounds of this size so far. */
  progress = 0;
  protected readonly qp: QueuePair;
  private readonly cq: CompletionQueue;
  private readonly clock: HotCalls = hotCalls();
  private readonly spins: number;
  private readonly looksAtOnce: number;
  private readonly arrivalLooks: number;
  private readonly role: Role;
  private step: number;
  /** When the request of the round was posted; 0 before that. */
  private begun = 0;
  private end = 0;
  private samples: Float64Array = new Float64Array(0);
  private sampled = 0;

  /**
   * @param sleeps whether the loop returns IDLE at the first look that finds nothing
   * @param arrivalLooks how many looks arrived() makes
   */
  constructor(side: Side, role: Role, sleeps: boolean, arrivalSpins = POLL_SPINS, arrivalLooks = 1) {
    this.qp = side.qps[0]!;
    this.cq = side.sendCq;
    this.role = role;
    this.step = role === 'answers' ? ARRIVAL : POST;
    this.looksAtOnce = sleeps ? 1 : LOOKS;
    this.arrivalLooks = arrivalLooks;
    this.spins = sleeps ? 1 : Math.max(arrivalSpins, POLL_SPINS);
  }

  /** Makes the one request of `qp.sends` ready for round `round`. */
  protected abstract prepare(round: number): void;
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
    const state = this.run();
    // Not in the loop: what runs once a block has no type feedback when that is compiled, and throws the code away.
    if (state !== Advance.IDLE) {
      if (this.samples.length > 0) this.samples[this.sampled++] = this.clock.clockMs() - this.begun;
      this.begun = 0;
    }
    return state;
  }

  /** DONE and TURN leave the last round's sample open. */
  private run(): Advance {
    const { clock, cq, end, qp, role, samples, spins, looksAtOnce, arrivalLooks } = this;
    const first = role === 'answers' ? ARRIVAL : POST;
    const afterCompletion = role === 'alone' ? POST : ARRIVAL;
    const stamp = samples.length > 0 ? 1 : 0;
    const turnAt = clock.clockMs() + TURN_MS;
    let { step, progress: round, sampled, begun } = this;
    let state: Advance = Advance.DONE;
    let looks = 0;
    while (round < end) {
      if (step === POST) {
        this.prepare(round);
        const completed = qp.postSendAndPollTimed(1, 1, looksAtOnce, stamp);
        if (stamp === 1) {
          const now = clock.stampMs;
          if (begun > 0) samples[sampled++] = now - begun;
          begun = now;
        }
        step = COMPLETION;
        if (completed > 0) {
          checkCompletion(cq, 0);
          step = afterCompletion;
        }
      } else if (step === COMPLETION) {
        while (looks < spins && cq.poll(1, looksAtOnce) === 0) looks += looksAtOnce;
        if (looks >= spins) {
          state = Advance.IDLE;
          break;
        }
        checkCompletion(cq, 0);
        step = afterCompletion;
      } else {
        while (looks < spins && !this.arrived(round)) {
          looks += arrivalLooks;
          if ((looks & YIELD_MASK) === 0) clock.yieldProcessor();
        }
        if (looks >= spins) {
          state = Advance.IDLE;
          break;
        }
        step = POST;
      }
      looks = 0;
      if (step !== first) continue;
      round++;
      if (round === end) break;
      const pauses = stamp === 1 ? begun > turnAt : (round & CLOCK_MASK) === 0 && clock.clockMs() > turnAt;
      if (pauses) {
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
