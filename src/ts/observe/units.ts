// Figures with their units, for people: the same on the page and in the terminal.
//
// Invariant: three significant digits at most, and a fixed narrow space before the unit, so that columns line up. What
// is not known is a dash, never 0. Imports nothing: browsers run it too.

export const UNKNOWN = '–';
const SPACE = '\u00a0';

/** Three significant digits, without an exponent. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9)}G`;
  if (size >= 1e6) return `${digits(value / 1e6)}M`;
  if (size >= 1e4) return `${digits(value / 1e3)}k`;
  if (size >= 1000) return value.toFixed(0);
  return digits(value);
}

function digits(value: number): string {
  return Number.isInteger(value) ? String(value) : three(value);
}

// Always with its decimals: what changes each second keeps its width.
function three(value: number): string {
  const size = Math.abs(value);
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.005) return value.toFixed(2);
  return value === 0 ? '0' : '<0.01';
}

/** A whole count: 950, 12.3k. */
export function count(value: number | null | undefined): string {
  if (typeof value !== 'number' || Math.abs(value) >= 1e4) return figure(value);
  return String(Math.round(value));
}

/** A time, given in microseconds. */
export function duration(us: number | null | undefined): string {
  if (us === null || us === undefined || !Number.isFinite(us)) return UNKNOWN;
  if (us < 999.5) return `${us < 9.995 ? three(us) : us.toFixed(0)}${SPACE}µs`;
  if (us < 999_500) return `${three(us / 1000)}${SPACE}ms`;
  if (us < 120e6) return `${three(us / 1e6)}${SPACE}s`;
  if (us < 7200e6) return `${three(us / 60e6)}${SPACE}min`;
  return `${three(us / 3600e6)}${SPACE}h`;
}

/** A rate. */
export function perSecond(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  return `${Math.abs(value) < 1000 ? three(value) : figure(value)}/s`;
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** A size in bytes. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < BYTE_UNITS.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 ? String(Math.round(size)) : digits(size)}${SPACE}${BYTE_UNITS[unit]}`;
}

/** A share of one. */
export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? UNKNOWN : `${Math.round(share * 100)}${SPACE}%`;
}

/** A time of day of an instant, in ms since 1970: 14:03:27. */
export function clockTime(atMs: number): string {
  const at = new Date(atMs);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}
