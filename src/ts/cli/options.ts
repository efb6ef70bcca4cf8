// Reading option values.
//
// Invariant: a value that is not exactly right is a usage error that says what would be.
import { InvalidArgumentError, Option } from 'commander';

/** A parser of whole numbers from `min` to `max`. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`);
    return value;
  };
}

const TIMES: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A parser of times such as `500ms`, `90s`, `5m` or `1h`, in ms, from 1 to `maxMs`. */
export function duration(maxMs: number): (text: string) => number {
  return (text) => {
    const [, digits, unit] = /^(\d{1,9})(ms|s|m|h)$/.exec(text) ?? [];
    const ms = digits === undefined ? Number.NaN : Number(digits) * TIMES[unit!]!;
    if (!(ms >= 1 && ms <= maxMs)) throw new InvalidArgumentError('Give a time, such as 500ms, 90s or 5m.');
    return ms;
  };
}

/** A parser of lists of whole numbers such as `1,16`, each from `min` to `max`. */
export function integers(min: number, max: number): (text: string) => number[] {
  const one = integer(min, max);
  return (text) => text.split(',').map((item) => one(item.trim()));
}

/** A parser of lists of words out of `known`. */
export function listOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) =>
    text.split(',').map((item) => {
      const found = known.find((name) => name === item.trim());
      if (found === undefined) throw new InvalidArgumentError(`Give some of ${known.join(', ')}, with commas between.`);
      return found;
    });
}

const AMOUNTS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** An amount of memory such as `64G`, in bytes. */
export function amount(text: string): number {
  const [, digits, unit] = /^(\d{1,13})([KMGT]?)$/.exec(text) ?? [];
  if (digits === undefined) throw new InvalidArgumentError('Give bytes, such as 512M or 64G.');
  return Number(digits) * AMOUNTS[unit!]!;
}

/** A parser of a list of names such as `soft0,mlx5_0`. */
export function names(text: string): string[] {
  const list = text.split(',').map((item) => item.trim());
  if (list.some((name) => !/^[\w.-]{1,64}$/.test(name)) || new Set(list).size < list.length) {
    throw new InvalidArgumentError('Give names, with commas between, each once.');
  }
  return list;
}

const units: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** A list of sizes such as `64,4k,1m`, in bytes. */
export function sizes(max: number): (text: string) => number[] {
  return (text) =>
    text.split(',').map((item) => {
      const match = /^(\d{1,10})([kmg]?)$/i.exec(item.trim());
      const value =
        match === null ? Number.NaN : Number(match[1]) * (units[(match[2] ?? '').toLowerCase()] ?? Number.NaN);
      if (!(value >= 0 && value <= max)) {
        throw new InvalidArgumentError(`Give sizes such as 64,4k,1m, each at most ${max} bytes.`);
      }
      return value;
    });
}

/** The option `--start-timeout-ms`. @param about what it bounds */
export function startTimeout(about: string): Option {
  return new Option('--start-timeout-ms <ms>', about).argParser(integer(1, 2 ** 31 - 1)).default(60_000);
}
