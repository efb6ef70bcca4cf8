// Traces of a seed: Poisson, bursts, a day curve, on and off.
//
// Invariant: the same options give the same trace. A generator draws only from its own seed.
import { checkInteger, invalidArgument } from '../../core/validate.js';
import { exponential, pickerOf, randomOf } from '../random.js';
import { type Trace, TraceBuilder } from './trace.js';

/** Options of every generator. */
export interface GeneratorOptions {
  readonly seed: number;
  /** Requests a second, on average over the trace. */
  readonly rate: number;
  readonly seconds: number;
  /** Their names; which one a request is of follows Zipf's law: the k-th is asked for 1/k as often as the first. */
  readonly models?: readonly string[];
  /** Units of work of a request from a number of 0 to 1; default 1. */
  readonly units?: (u: number) => number;
}

function checked<T extends GeneratorOptions>(options: T): T {
  checkInteger('seed', options.seed, 0);
  for (const name of ['rate', 'seconds'] as const) {
    if (!(options[name] > 0 && options[name] < 1e9)) throw invalidArgument(name, options[name], 'a number above 0');
  }
  if (options.rate * options.seconds > 2e7) {
    throw invalidArgument('rate times seconds', options.rate * options.seconds, 'at most 2e7 requests');
  }
  return options;
}

// Arrivals at a varying rate: draws arrivals at the peak rate and drops some of them (Lewis and Shedler, 1979).
function thinned(name: string, options: GeneratorOptions, peak: number, rateAt: (s: number) => number): Trace {
  const { seed, seconds, models = ['default'], units } = checked(options);
  const [draw, builder, pick] = [randomOf(seed), new TraceBuilder(name), pickerOf(models.map((_, k) => 1 / (k + 1)))];
  for (let s = exponential(draw, 1 / peak); s < seconds; s += exponential(draw, 1 / peak)) {
    if (draw() * peak > rateAt(s)) continue;
    const model = models[models.length === 1 ? 0 : pick(draw())]!;
    builder.add({ arrivalS: s, model, units: units?.(draw()) }, `request ${builder.size}`);
  }
  return builder.done(seconds);
}

/** Arrivals of a steady rate. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the option */
export function poissonTrace(options: GeneratorOptions): Trace {
  return thinned('poisson', options, options.rate, () => options.rate);
}

/**
 * A rate that follows a sine of a day: `ratio` is the highest over the lowest.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the option
 */
export function dayTrace(options: GeneratorOptions & { readonly ratio?: number }): Trace {
  const { rate, ratio = 4 } = options;
  if (!(ratio >= 1 && ratio <= 1000)) throw invalidArgument('ratio', ratio, 'a number from 1 to 1000');
  const swing = (ratio - 1) / (ratio + 1);
  const rateAt = (s: number) => rate * (1 - swing * Math.cos((2 * Math.PI * s) / 86_400));
  return thinned('day', options, rate * (1 + swing), rateAt);
}

// The states of a process with two of them, as times at which it changes.
function switches(seed: number, seconds: number, firstMeanS: number, secondMeanS: number): number[] {
  const draw = randomOf(seed ^ 0x5bd1e995);
  const times: number[] = [];
  for (let s = 0; s < seconds; ) {
    s += exponential(draw, times.length % 2 === 0 ? firstMeanS : secondMeanS);
    times.push(s);
  }
  return times;
}

function stateAt(times: readonly number[]): (s: number) => number {
  let at = 0;
  return (s) => {
    while (at < times.length && times[at]! <= s) at++;
    return at % 2;
  };
}

/**
 * A quiet rate and bursts `factor` times as high (a Markov-modulated Poisson process): `burstS` long on average, and
 * `quietS` between them. The mean rate is that of the options.
 */
export function burstTrace(
  options: GeneratorOptions & { readonly factor?: number; readonly burstS?: number; readonly quietS?: number },
): Trace {
  const { rate, factor = 8, burstS = 120, quietS = 1200, seed, seconds } = checked(options);
  if (!(factor >= 1 && factor <= 1000)) throw invalidArgument('factor', factor, 'a number from 1 to 1000');
  const quiet = (rate * (burstS + quietS)) / (quietS + factor * burstS);
  const state = stateAt(switches(seed, seconds, quietS, burstS));
  return thinned('bursts', options, quiet * factor, (s) => (state(s) === 1 ? quiet * factor : quiet));
}

/** Nothing, or a steady rate: `onS` long on average, and `offS` between them. The mean rate is that of the options. */
export function onOffTrace(options: GeneratorOptions & { readonly onS?: number; readonly offS?: number }): Trace {
  const { rate, onS = 600, offS = 1800, seed, seconds } = checked(options);
  const on = (rate * (onS + offS)) / onS;
  const state = stateAt(switches(seed, seconds, offS, onS));
  return thinned('on-off', options, on, (s) => (state(s) === 1 ? on : 0));
}
