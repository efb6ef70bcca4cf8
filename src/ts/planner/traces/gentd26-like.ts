// Requests like those of a generative-image service, from statistics of GenTD26 (Lin et al., "Understanding Diffusion
// Model Serving in Production", SoCC '25). No row of it is here.
//
// Invariant: seeded. The figures: arrivals by hour of a working day; 48 models asked for as unequally as there (the
// first by 31 %, the first five by 70 %); users who send 5 requests in a row, 45 s apart on average (variance to mean
// of counts 1.4 in 10 s, 3.8 in 1 min, 15 in 5 min) and mostly stay with their model; 17 % need a LoRA.
import { checkInteger, invalidArgument } from '../../core/validate.js';
import { exponential, pickerOf, randomOf } from '../random.js';
import { type Trace, TraceBuilder } from './trace.js';

const HOUR_S = 3600;
/** Of 1000 arrivals, by hour of the day. */
const BY_HOUR = [142, 43, 42, 45, 25, 13, 12, 10, 4, 2, 1, 0, 0, 0, 0, 1, 21, 85, 102, 24, 38, 118, 124, 127];
const A_DAY = 2300;
const IN_A_ROW = 5;
const PAUSE_S = 45;
const SAME_MODEL = 0.72;
const WITH_ADAPTER = 0.17;
/** Of 1000 requests, by model. */
const BY_MODEL = [
  ...[307, 150, 94, 79, 75, 43, 36, 30, 27, 27, 21, 9, 8, 7, 7, 5, 4, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2],
  ...[2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
];

/** How the trace is made. */
export interface Gentd26LikeOptions {
  readonly seed: number;
  /** Working days, 1 to 365; default 1. */
  readonly days?: number;
  /** How many of the 48 models, the most used ones; default all. */
  readonly models?: number;
  /** Requests relative to 2300 a day, 0.01 to 1000; default 1. */
  readonly scale?: number;
  /** Names of the models; default `m0` and so on. */
  readonly names?: (index: number) => string;
}

/** Makes the trace. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the option */
export function gentd26LikeTrace(options: Gentd26LikeOptions): Trace {
  const { seed, days = 1, models = BY_MODEL.length, scale = 1, names = (i) => `m${i}` } = options;
  checkInteger('seed', seed, 0);
  checkInteger('days', days, 1, 365);
  checkInteger('models', models, 1, BY_MODEL.length);
  if (!(scale >= 0.01 && scale <= 1000)) throw invalidArgument('scale', scale, 'a number from 0.01 to 1000');
  if (A_DAY * scale * days > 1e7) throw invalidArgument('scale times days', scale * days, 'at most 4300');
  const draw = randomOf(seed);
  const pick = pickerOf(BY_MODEL.slice(0, models));
  const rows: { s: number; model: number; tenant: number; hasAdapter: boolean }[] = [];
  const total = BY_HOUR.reduce((a, b) => a + b, 0);
  let tenant = 0;
  for (let hour = 0; hour < 24 * days; hour++) {
    const runs = (A_DAY * scale * BY_HOUR[hour % 24]!) / total / IN_A_ROW;
    if (runs === 0) continue;
    const gap = HOUR_S / runs;
    for (let s = exponential(draw, gap); s < HOUR_S; s += exponential(draw, gap)) {
      let [atS, model] = [hour * HOUR_S + s, pick(draw())];
      tenant++;
      do {
        rows.push({ s: atS, model, tenant, hasAdapter: draw() < WITH_ADAPTER });
        atS += exponential(draw, PAUSE_S);
        if (draw() > SAME_MODEL) model = pick(draw());
      } while (draw() > 1 / IN_A_ROW);
    }
  }
  rows.sort((a, b) => a.s - b.s);
  const builder = new TraceBuilder('gentd26-like');
  for (const { s, model, tenant: user, hasAdapter } of rows) {
    builder.add({ arrivalS: s, model: names(model), tenant: String(user), hasAdapter }, `request ${builder.size}`);
  }
  builder.notes.push('made from published statistics of GenTD26; it holds no row of it');
  return builder.done(days * 24 * HOUR_S);
}
