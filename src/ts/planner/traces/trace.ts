// A trace: requests in the order in which they come.
//
// Invariant: times are finite, not negative and in order; units are positive; every model has a name. A row that breaks
// this is an error that names its line; nothing is dropped or repaired silently.
import { RdmaError } from '../../core/errors.js';

/** The most requests of a trace. */
const MAX_TRACE_REQUESTS = 20_000_000;
/** The latest arrival, in seconds: about 3 years. */
const MAX_TRACE_SECONDS = 1e8;
const MIN_UNITS = 1e-9;
const MAX_UNITS = 1e9;

/** Requests, by columns. Index i is the same request in each. */
export interface Trace {
  /** The file or generator, for reports and errors. */
  readonly name: string;
  /** When each comes, in seconds from the beginning of the trace. */
  readonly arrivalS: Float64Array;
  /** Index into `models`. */
  readonly model: Uint16Array;
  /** How much work it is, relative to one unit of the profile. */
  readonly units: Float32Array;
  /** The same for stages whose time grows with the output; the same array where a trace does not tell them apart. */
  readonly outputUnits: Float32Array;
  /** Index of the tenant. */
  readonly tenant: Uint32Array;
  /** Seconds after which the answer is of no use; Infinity: never. */
  readonly deadlineS: Float32Array;
  /** 1: it needs an adapter (LoRA) that the trace does not name, so it is another one each time. */
  readonly hasAdapter: Uint8Array;
  readonly models: readonly string[];
  readonly tenants: number;
  /** How long the trace is, in seconds, the quiet time at its end included. */
  readonly lengthS: number;
  /** Remarks for reports: gaps, rows that the source marks as not served. */
  readonly notes: readonly string[];
}

/** One request. */
export interface TraceRow {
  readonly arrivalS: number;
  readonly model: string;
  readonly units?: number | undefined;
  readonly outputUnits?: number | undefined;
  readonly tenant?: string | undefined;
  readonly deadlineS?: number | undefined;
  readonly hasAdapter?: boolean | undefined;
}

/** Makes a trace of rows that come in order. */
export class TraceBuilder {
  private readonly name: string;
  private readonly arrivalS: number[] = [];
  private readonly model: number[] = [];
  private readonly units: number[] = [];
  private readonly outputUnits: number[] = [];
  private readonly tenant: number[] = [];
  private readonly deadlineS: number[] = [];
  private readonly adapters: number[] = [];
  private readonly models = new Map<string, number>();
  private readonly tenants = new Map<string, number>();
  private hasOutput = false;
  readonly notes: string[] = [];

  /** @param name of the trace, for errors */
  constructor(name: string) {
    this.name = name;
  }

  /** How many rows there are. */
  get size(): number {
    return this.arrivalS.length;
  }

  /**
   * Adds a request.
   *
   * @param where the row, for errors, such as `line 7`
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a time before the last one, a negative or missing number
   */
  add(row: TraceRow, where: string): void {
    const { arrivalS, model, units = 1, outputUnits, tenant = '', deadlineS = Number.POSITIVE_INFINITY } = row;
    const last = this.arrivalS.at(-1);
    if (last !== undefined && arrivalS < last) {
      throw this.error(where, `it comes at ${arrivalS} s, before the request above it at ${last} s`, 'sort the rows');
    }
    if (!(arrivalS >= 0 && arrivalS <= MAX_TRACE_SECONDS)) {
      throw this.error(where, `the arrival must be 0 to ${MAX_TRACE_SECONDS} seconds, not ${arrivalS}`);
    }
    if (!(units >= MIN_UNITS && units <= MAX_UNITS)) {
      const words = units > 0 && units < MIN_UNITS ? `at least ${MIN_UNITS}` : 'above 0';
      throw this.error(where, `units must be ${units > MAX_UNITS ? `at most ${MAX_UNITS}` : words}, not ${units}`);
    }
    if (outputUnits !== undefined && !(outputUnits >= 0 && outputUnits <= MAX_UNITS)) {
      throw this.error(where, `output units must be 0 or more, not ${outputUnits}`);
    }
    if (!(deadlineS > 0)) throw this.error(where, `the deadline must be above 0 seconds, not ${deadlineS}`);
    if (model === '') throw this.error(where, 'it names no model');
    if (this.size === MAX_TRACE_REQUESTS) throw this.error(where, `more than ${MAX_TRACE_REQUESTS} requests`);
    this.arrivalS.push(arrivalS);
    this.model.push(indexOf(this.models, model));
    if (this.models.size > 65_535) throw this.error(where, 'more than 65535 models');
    this.units.push(units);
    this.outputUnits.push(outputUnits ?? units);
    this.hasOutput ||= outputUnits !== undefined;
    this.tenant.push(indexOf(this.tenants, tenant));
    this.deadlineS.push(deadlineS);
    this.adapters.push(row.hasAdapter === true ? 1 : 0);
  }

  private error(where: string, words: string, remedy?: string): RdmaError {
    return new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${this.name}, ${where}: ${words}`, {
      ...(remedy === undefined ? {} : { remedy }),
    });
  }

  /**
   * The trace.
   *
   * @param lengthS how long it is, the quiet time at its end included; default up to the last request
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT where there is no request
   */
  done(lengthS?: number): Trace {
    if (this.size === 0) throw this.error('all of it', 'it has no request');
    const last = this.arrivalS.at(-1)!;
    const units = Float32Array.from(this.units);
    return {
      name: this.name,
      arrivalS: Float64Array.from(this.arrivalS),
      model: Uint16Array.from(this.model),
      units,
      outputUnits: this.hasOutput ? Float32Array.from(this.outputUnits) : units,
      tenant: Uint32Array.from(this.tenant),
      deadlineS: Float32Array.from(this.deadlineS),
      hasAdapter: Uint8Array.from(this.adapters),
      models: [...this.models.keys()],
      tenants: this.tenants.size,
      lengthS: Math.max(lengthS ?? last, last, 1e-3),
      notes: this.notes,
    };
  }
}

function indexOf(map: Map<string, number>, key: string): number {
  let index = map.get(key);
  if (index === undefined) {
    index = map.size;
    map.set(key, index);
  }
  return index;
}

/**
 * The longest time in which nothing comes, where that is much longer than chance makes it.
 *
 * @returns its beginning and length in seconds; undefined: there is none
 */
export function gapOf(trace: Trace): { readonly atS: number; readonly lengthS: number } | undefined {
  const { arrivalS, lengthS } = trace;
  let [atS, longest] = [0, arrivalS[0]!];
  for (let i = 1; i < arrivalS.length; i++) {
    const gap = arrivalS[i]! - arrivalS[i - 1]!;
    if (gap > longest) [atS, longest] = [arrivalS[i - 1]!, gap];
  }
  const usual = lengthS / arrivalS.length;
  // Of Poisson arrivals the longest of n gaps is about ln n times the mean.
  const expected = usual * (Math.log(arrivalS.length + 1) + 8);
  return longest > Math.max(3 * expected, 3600) ? { atS, lengthS: longest } : undefined;
}

/**
 * The same trace, no shorter than until its last request would be done if none waited. A file says when requests come
 * and not when it ends; without this the work of its last requests would be left out.
 *
 * @param secondsOf what a request takes alone, in s, by its index
 */
export function untilDone(trace: Trace, secondsOf: (request: number) => number): Trace {
  let { lengthS } = trace;
  for (let i = 0; i < trace.arrivalS.length; i++) lengthS = Math.max(lengthS, trace.arrivalS[i]! + secondsOf(i));
  return { ...trace, lengthS };
}

/** The same trace, with its times multiplied: 0.5 makes it twice as dense. @param factor above 0 */
export function stretched(trace: Trace, factor: number): Trace {
  return { ...trace, arrivalS: trace.arrivalS.map((s) => s * factor), lengthS: trace.lengthS * factor };
}
