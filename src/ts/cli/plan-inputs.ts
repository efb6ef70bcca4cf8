// The inputs of `onepiece plan` and `onepiece simulate`: traces, profiles, the SLO and kinds of GPU.
//
// Invariant: a bad input is an error of one line that names the file, the option or the figure.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { bareSeconds, type GpuKind, type ModelCosts } from '../planner/profiles/costs.js';
import { checkProfile, type Profile } from '../planner/profiles/profile.js';
import { gentd26LikeTrace } from '../planner/traces/gentd26-like.js';
import { burstTrace, dayTrace, onOffTrace, poissonTrace } from '../planner/traces/generators.js';
import { readTrace } from '../planner/traces/public-formats.js';
import { gapOf, type Trace, untilDone } from '../planner/traces/trace.js';
import { isRdmaError } from '../core/errors.js';
import { packageRoot } from '../addon/native.js';
import { asUsage, UsageError } from './exit.js';

/** Names of generated traces. */
export const GENERATORS = ['gentd26-like', 'poisson', 'bursts', 'day', 'on-off'] as const;

/** Options of made traces. */
export interface TraceFlags {
  readonly trace: string;
  /** Default 1. */
  readonly days?: number | undefined;
  /** Requests a second; of gentd26-like: relative to 2300 a day. */
  readonly rate?: number | undefined;
  readonly models?: number | undefined;
}

/** Where the requests come from. */
export interface TraceSource {
  /** A trace from a file is the same for each seed. */
  readonly of: (seed: number) => Trace;
  readonly isFile: boolean;
}

/**
 * Opens a trace.
 *
 * @param names the model names of a generated trace, by index
 * @throws UsageError when the file cannot be read, or an option does not go with the trace; RdmaError naming the line
 *   of a bad one
 */
export function traceSource(flags: TraceFlags, names: (index: number) => string): TraceSource {
  const { trace, days = 1, rate } = flags;
  const models = Array.from({ length: flags.models ?? 1 }, (_, i) => names(i));
  switch (trace) {
    case 'gentd26-like': {
      const scale = rate ?? 1;
      if (!(scale >= 0.01 && scale <= 1000)) {
        throw new UsageError(`--rate ${scale}: ${trace} takes 0.01 to 1000 times 2300 requests a day`);
      }
      const more = { days, scale, names, ...(flags.models === undefined ? {} : { models: flags.models }) };
      return { isFile: false, of: (seed) => made(() => gentd26LikeTrace({ seed, ...more })) };
    }
    case 'poisson':
    case 'bursts':
    case 'day':
    case 'on-off': {
      if (rate === undefined) throw new UsageError(`--trace ${trace} needs --rate, requests a second`);
      const make = { poisson: poissonTrace, bursts: burstTrace, day: dayTrace, 'on-off': onOffTrace }[trace];
      return { isFile: false, of: (seed) => made(() => make({ seed, rate, seconds: days * 86_400, models })) };
    }
  }
  const text = readText('trace', trace);
  for (const name of ['days', 'rate', 'models'] as const) {
    if (flags[name] !== undefined) throw new UsageError(`--${name} is for made traces; ${trace} is a file`);
  }
  const read = readTrace(trace, text);
  const gap = gapOf(read);
  const words =
    gap &&
    `nothing comes for ${(gap.lengthS / 3600).toFixed(1)} h, ${(gap.atS / 3600).toFixed(1)} h after its beginning`;
  const noted = words === undefined ? read : { ...read, notes: [...read.notes, words] };
  return { isFile: true, of: () => noted };
}

function made(make: () => Trace): Trace {
  try {
    return make();
  } catch (error) {
    return asUsage(error);
  }
}

function readText(what: string, path: string): string {
  try {
    const bytes = readFileSync(path);
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
    const text = (isGzip ? gunzipSync(bytes, { maxOutputLength: 2 ** 29 }) : bytes).toString('utf8');
    return text.replace(/^\uFEFF/, '');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const made = what === 'trace' ? `; traces that are made are ${GENERATORS.join(', ')}` : '';
    if (code === 'ENOENT') throw new UsageError(`there is no ${what} ${path}${made}`);
    throw new UsageError(`cannot read ${what} ${path}: ${code === 'EISDIR' ? 'it is a directory' : message}`);
  }
}

/** Names of the profiles that the package has. */
export function shippedProfiles(): string[] {
  const names = readdirSync(join(packageRoot(), 'profiles')).filter(
    (name) => name.endsWith('.json') && name !== 'schema.json',
  );
  return names.map((name) => name.slice(0, -'.json'.length)).sort();
}

/** Reads a profile: one of the package by its name, or a file. @throws UsageError, or RdmaError naming the field */
export function readProfile(name: string): Profile {
  const shipped = shippedProfiles();
  const isFile = name.includes('/') || name.endsWith('.json');
  if (!isFile && !shipped.includes(name)) {
    throw new UsageError(`there is no profile ${name}; there are ${shipped.join(', ')}, or give a file`);
  }
  const text = readText('profile', isFile ? name : join(packageRoot(), 'profiles', `${name}.json`));
  try {
    return checkProfile(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError) throw new UsageError(`profile ${name} is no JSON: ${error.message}`);
    if (!isRdmaError(error)) throw error;
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
}

/**
 * The profile of each model of a trace. One profile: every model is a variant of it. Several: a model names its own,
 * `ID` or `ID/variant`.
 *
 * @throws UsageError naming a model that has none
 */
export function profilesByModel(trace: Trace, profiles: readonly Profile[]): Profile[] {
  if (profiles.length === 1) return trace.models.map(() => profiles[0]!);
  return trace.models.map((model) => {
    const found = profiles.find(({ id }) => model === id || model.startsWith(`${id}/`));
    if (found === undefined) {
      const known = profiles.map(({ id }) => id).join(', ');
      throw new UsageError(`trace ${trace.name} has a model ${model} without a profile; given are ${known}`);
    }
    return found;
  });
}

/** Names of the models of a made trace: they take turns among the profiles. */
export function modelNames(profiles: readonly Profile[]): (index: number) => string {
  if (profiles.length === 1) return (i) => `m${i}`;
  return (i) => `${profiles[i % profiles.length]!.id}/${Math.floor(i / profiles.length)}`;
}

/** The service level objective. */
export interface Slo {
  readonly quantile: number;
  /** Over the bare time; undefined: `seconds` says it. */
  readonly factor: number | undefined;
  readonly seconds: number | undefined;
  readonly rejected: number;
}

/** Reads `p95=2x` or `p99=600s`, and `rejected=1%` beside it. @throws UsageError */
export function sloOf(text: string): Slo {
  const wrong = (words: string) => new UsageError(`--slo ${text}: ${words}`);
  const usage = 'give p95=2x (times the bare time) or p95=600s, and rejected=1% beside it';
  let late: RegExpExecArray | undefined;
  let rejected: number | undefined;
  for (const part of text.split(',')) {
    const latency = /^p(\d{2}(?:\.\d{1,2})?)=(\d+(?:\.\d+)?)(x|s)$/.exec(part.trim());
    const refused = /^rejected=(\d+(?:\.\d+)?)%$/.exec(part.trim());
    if (latency !== null) {
      if (late !== undefined) throw wrong('give one quantile of latency, not two');
      late = latency;
    } else if (refused !== null && Number(refused[1]) <= 100) {
      if (rejected !== undefined) throw wrong('give one part that may be refused, not two');
      rejected = Number(refused[1]) / 100;
    } else throw wrong(usage);
  }
  if (late === undefined) throw wrong(usage);
  const [quantile, value] = [Number(late[1]) / 100, Number(late[2])];
  if (!(quantile >= 0.5 && quantile <= 0.9999)) throw wrong('give a quantile from p50 to p99.99');
  const [factor, seconds] = late[3] === 'x' ? [value, undefined] : [undefined, value];
  return { quantile, factor, seconds, rejected: rejected ?? 0.01 };
}

// The shipped scale policy counts in ms below 2^31.
const MAX_SECONDS = 2e6;

/**
 * The SLO as a factor of the bare time.
 *
 * @throws UsageError where even a request alone would be late, or may take weeks
 */
export function sloFactor(slo: Slo, trace: Trace, costs: readonly ModelCosts[]): number {
  let most = 0;
  for (let i = 0; i < trace.models.length; i++) most = Math.max(most, bareSeconds(costs[i]!, 1, 1));
  const factor = slo.factor ?? slo.seconds! / most;
  const asked = slo.factor === undefined ? `${slo.seconds} s` : `${slo.factor} times the bare time`;
  if (factor < 1) {
    throw new UsageError(`the SLO of ${asked} is below the bare time: a request alone takes ${most.toFixed(1)} s`);
  }
  if (!(factor * most <= MAX_SECONDS)) {
    const words = `the SLO of ${asked} lets a request take ${(factor * most).toPrecision(3)} s`;
    throw new UsageError(`${words}; at most ${MAX_SECONDS} s can be simulated`);
  }
  return factor;
}

/** Reads `H100`, `H100:80` or `H100:80:2.99`: kind, memory in GB, price of an hour. @throws UsageError */
export function gpuOf(text: string, profiles: readonly Profile[]): GpuKind {
  const [kind = '', memory, price, ...rest] = text.split(':');
  const known = Object.hasOwn(profiles[0]!.gpus, kind) ? profiles[0]!.gpus[kind]!.memoryGB : undefined;
  const memoryGB = memory === undefined ? known : Number(memory);
  const isNumber = (given: string | undefined) => given === undefined || /^\d{1,9}(\.\d{1,9})?$/.test(given);
  if (kind === '' || rest.length > 0 || !isNumber(memory) || !isNumber(price) || memoryGB === 0) {
    throw new UsageError(`--gpu ${text}: give a kind, its memory in GB and the price of an hour, such as H100:80:2.99`);
  }
  if (memoryGB === undefined) {
    const kinds = Object.keys(profiles[0]!.gpus).join(', ');
    throw new UsageError(
      `--gpu ${text}: profile ${profiles[0]!.id} does not know its memory (it knows ${kinds}): give KIND:GB`,
    );
  }
  return { kind, memoryGB, price: price === undefined ? undefined : Number(price) };
}

/**
 * A trace with an end at which its last request could be done, whichever kind of GPU it is done on.
 *
 * @param costs by kind of GPU, by model of the trace
 * @throws UsageError naming a request that takes longer than can be simulated
 */
export function wholeTrace({ isFile }: TraceSource, trace: Trace, costs: readonly (readonly ModelCosts[])[]): Trace {
  const secondsOf = (i: number) => {
    const of = (each: readonly ModelCosts[]) => {
      return bareSeconds(each[trace.model[i]!]!, trace.units[i]!, trace.outputUnits[i]!);
    };
    const seconds = Math.max(...costs.map(of));
    if (seconds <= MAX_SECONDS) return seconds;
    const words = `request ${i + 1} of trace ${trace.name} takes ${seconds.toPrecision(3)} s alone`;
    throw new UsageError(`${words}; at most ${MAX_SECONDS} s can be simulated`);
  };
  const whole = untilDone(trace, secondsOf);
  return isFile ? whole : trace;
}
