// When requests are due, and how long their tasks take.
//
// Invariant: all of it follows from the seed, so everybody who is compared gets the same requests at the same times.
import { Random } from '../../demo/random.js';
import { STAGES } from './settings.js';

/** A request that is due. */
export interface Arrival {
  /** Behind the begin of the load. */
  atMs: number;
  /** Whose it is; undefined: nobody asks. */
  tenant: string | undefined;
}

/**
 * Arrivals of a Poisson process: each gap is drawn from the exponential distribution, whatever came before.
 *
 * @param perSecond how many come in a second on average, above 0
 * @param fromMs none is due before
 * @param toMs none is due at it or later
 * @param seed another seed, other arrivals
 */
export function* poisson(
  perSecond: number,
  fromMs: number,
  toMs: number,
  seed: readonly number[],
  tenant?: string,
): Generator<Arrival, void> {
  const random = new Random(...seed);
  const meanMs = 1000 / perSecond;
  for (let atMs = fromMs; ; ) {
    atMs -= Math.log(1 - random.float()) * meanMs;
    if (atMs >= toMs) return;
    yield { atMs, tenant };
  }
}

/** Several streams of arrivals as one, in order. */
export function* merged(...streams: Iterator<Arrival>[]): Generator<Arrival, void> {
  const next = streams.map((stream) => stream.next());
  for (;;) {
    let first = -1;
    for (let i = 0; i < next.length; i++) {
      if (next[i]!.done) continue;
      if (first < 0 || next[i]!.value.atMs < next[first]!.value.atMs) first = i;
    }
    if (first < 0) return;
    yield next[first]!.value;
    next[first] = streams[first]!.next();
  }
}

/** Tasks take 75 to 125 % of the mean, each value as likely. */
const SPREAD = 0.25;

/** How long each stage takes for request `number`, in whole ms of at least 1, as timers of Node.js take them. */
export function serviceTimes(seed: number, number: number, meanMs: number): number[] {
  const random = new Random(seed, number);
  return STAGES.map(() => Math.max(1, Math.round(meanMs * (1 + SPREAD * random.signed()))));
}
