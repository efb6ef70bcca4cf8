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
import { gapOf, type Trace } from '../planner/traces/trace.js';
import { packageRoot } from '../addon/native.js';
import { UsageError } from './exit.js';

/** Names of generated traces. */
export const GENERATORS = ['gentd26-like', 'poisson', 'bursts', 'day', 'on-off'] as const;

/** Options of made traces. */
export interface TraceFlags {
  readonly trace: string;
  readonly days: number;
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
 * @throws UsageError when the file does not exist; RdmaError naming the line of a bad one
 */
export function traceSource(flags: TraceFlags, names: (index: number) => string): TraceSource {
  const { trace, days, rate } = flags;
  const models = Array.from({ length: flags.models ?? 1 }, (_, i) => names(i));
  switch (trace) {
    case 'gentd26-like': {
      const more = { days, scale: rate ?? 1, names, ...(flags.models === undefined ? {} : { models: flags.models }) };
      return { isFile: false, of: (seed) => gentd26LikeTrace({ seed, ...more }) };
    }
    case 'poisson':
    case 'bursts':
    case 'day':
    case 'on-off': {
      if (rate === undefined) throw new UsageError(`--trace ${trace} needs --rate, requests a second`);
      const make = { poisson: poissonTrace, bursts: burstTrace, day: dayTrace, 'on-off': onOffTrace }[trace];
      return { isFile: false, of: (seed) => make({ seed, rate, seconds: days * 86_400, models }) };
    }
  }
  const read = readTrace(trace, readText('trace', trace));
  const gap = gapOf(read);
  const words =
    gap &&
    `nothing comes for ${(gap.lengthS / 3600).toFixed(1)} h, ${(gap.atS / 3600).toFixed(1)} h after its beginning`;
  const noted = words === undefined ? read : { ...read, notes: [...read.notes, words] };
  return { isFile: true, of: () => noted };
}

function readText(what: string, path: string): string {
  try {
    const bytes = readFileSync(path);
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
    return (isGzip ? gunzipSync(bytes, { maxOutputLength: 2 ** 29 }) : bytes).toString('utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const made = what === 'trace' ? `; traces that are made are ${GENERATORS.join(', ')}` : '';
    if (code === 'ENOENT') throw new UsageError(`there is no ${what} ${path}${made}`);
    throw new UsageError(`cannot read ${what} ${path}: ${message}`);
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
    throw error;
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
  const slo = {
    quantile: 0,
    factor: undefined as number | undefined,
    seconds: undefined as number | undefined,
    rejected: 0.01,
  };
  for (const part of text.split(',')) {
    const late = /^p(\d{2}(?:\.\d{1,2})?)=(\d+(?:\.\d+)?)(x|s)$/.exec(part.trim());
    const rejected = /^rejected=(\d+(?:\.\d+)?)%$/.exec(part.trim());
    if (late !== null) {
      slo.quantile = Number(late[1]) / 100;
      if (late[3] === 'x') slo.factor = Number(late[2]);
      else slo.seconds = Number(late[2]);
    } else if (rejected !== null && Number(rejected[1]) <= 100) slo.rejected = Number(rejected[1]) / 100;
    else
      throw new UsageError(`--slo ${text}: give p95=2x (times the bare time) or p95=600s, and rejected=1% beside it`);
  }
  if (!(slo.quantile >= 0.5 && slo.quantile <= 0.9999))
    throw new UsageError(`--slo ${text}: give a quantile from p50 to p99.99`);
  return slo;
}

/**
 * The SLO as a factor of the bare time.
 *
 * @throws UsageError where even a request alone would be late
 */
export function sloFactor(slo: Slo, trace: Trace, costs: readonly ModelCosts[]): number {
  let most = 0;
  for (let i = 0; i < trace.models.length; i++) most = Math.max(most, bareSeconds(costs[i]!, 1, 1));
  const factor = slo.factor ?? slo.seconds! / most;
  if (factor < 1) {
    const asked = slo.factor === undefined ? `${slo.seconds} s` : `${slo.factor} times the bare time`;
    throw new UsageError(`the SLO of ${asked} is below the bare time: a request alone takes ${most.toFixed(1)} s`);
  }
  return factor;
}

/** Reads `H100`, `H100:80` or `H100:80:2.99`: kind, memory in GB, price of an hour. @throws UsageError */
export function gpuOf(text: string, profiles: readonly Profile[]): GpuKind {
  const [kind = '', memory, price, ...rest] = text.split(':');
  const known = profiles[0]!.gpus[kind]?.memoryGB;
  const memoryGB = memory === undefined ? known : Number(memory);
  const isPrice = price === undefined || Number(price) >= 0;
  if (kind === '' || rest.length > 0 || !isPrice || (memory !== undefined && !(Number(memory) > 0))) {
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
