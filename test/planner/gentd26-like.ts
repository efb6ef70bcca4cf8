// Arrivals like those of a generative-image service for a day: made from published statistics of GenTD26 (Lin et al.,
// "Understanding Diffusion Model Serving in Production", SoCC '25), of which no row is here.
//
// Invariant: seeded. Figures: arrivals by hour of a working day (2300 a day), runs of requests from one user (variance
// to mean of the counts 1.4 in 10 s, 3.8 in 1 min, 15 in 5 min), service 8 s at least, median 23 s, p90 53 s, p99 106
// s.
import { exponential, randomOf } from '../../src/ts/planner/random.js';
import type { Arrival } from './stage-model.js';

const HOUR_MS = 3_600_000;
/** Of 1000 arrivals, by hour of the day. */
const BY_HOUR = [142, 43, 42, 45, 25, 13, 12, 10, 4, 2, 1, 0, 0, 0, 0, 1, 21, 85, 102, 24, 38, 118, 124, 127];
const A_DAY = 2300;
/** A user sends so many in a row on average, with that long a pause between them. */
const IN_A_ROW = 5;
const PAUSE_MS = 45_000;
const LEAST_MS = 8000;

/** One day of arrivals, in order. */
export function gentd26Like(seed: number, days = 1): Arrival[] {
  const draw = randomOf(seed);
  const gap = (meanMs: number) => exponential(draw, meanMs);
  const list: Arrival[] = [];
  const total = BY_HOUR.reduce((a, b) => a + b, 0);
  for (let hour = 0; hour < 24 * days; hour++) {
    const runs = (A_DAY * BY_HOUR[hour % 24]!) / total / IN_A_ROW;
    if (runs === 0) continue;
    for (let ms = gap(HOUR_MS / runs); ms < HOUR_MS; ms += gap(HOUR_MS / runs)) {
      let atMs = hour * HOUR_MS + ms;
      do {
        list.push({ atMs, serviceMs: serviceMs(draw) });
        atMs += gap(PAUSE_MS);
      } while (draw() > 1 / IN_A_ROW);
    }
  }
  return list.sort((a, b) => a.atMs - b.atMs);
}

// What is above the least: lognormal by its median (15 s) and p90 (45 s), Box and Muller.
function serviceMs(draw: () => number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
  return LEAST_MS + Math.min(15_000 * Math.exp(0.86 * normal), 300_000);
}
