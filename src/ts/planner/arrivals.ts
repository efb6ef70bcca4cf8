// How fast tasks come: now, and soon.
//
// Invariant: the rate that is planned for changes only on evidence. A CUSUM test (Page 1954) adds up how much better
// another rate explains what came; it is the quickest test there is for its rate of false alarms (Lorden 1971). The
// state is a plain value: the same arrivals make the same state.

/** Rates that are tested, relative to the planned one, from the quickest to the finest. */
const FASTER = [2, 1.3];
const SLOWER = [0.5, 0.75];
const RATIOS = [...FASTER, ...SLOWER];
/** What an arrival says for each of them. */
const LOGARITHMS = RATIOS.map(Math.log);
/** A rate is first measured of so many arrivals, then of four times as many, until they are enough over long enough. */
const FIRST_ARRIVALS = 20;
const ENOUGH_ARRIVALS = 320;
const LONG_ENOUGH_MS = 60_000;
/** Parts of a day that are told apart, and how much the newest day counts. */
const DAY_MS = 86_400_000;
const DAY_PARTS = 96;
const NEWEST_DAY = 0.3;
/** What came just now, level and trend follow in this time. */
const RECENT_MS = 4000;
const LEVEL_MS = 120_000;
const TREND_MS = 600_000;

/** Evidence for one other rate, since it was last none. */
interface Evidence {
  readonly score: number;
  readonly arrivals: number;
  readonly ms: number;
}

/** What is known of the arrivals of a stage; make it with {@link noArrivals}. */
export interface Arrivals {
  readonly atMs: number;
  /** Per ms, the rate that is planned for; 0 before anything is known. */
  readonly planned: number;
  /** Whether `planned` was measured, rather than the first guess. */
  readonly isMeasured: boolean;
  /** What came since the rate last changed, and at how many arrivals it is measured again; null: never. */
  readonly since: { readonly arrivals: number; readonly ms: number; readonly next: number | null };
  readonly evidence: readonly Evidence[];
  /** When something last came; -1: never. */
  readonly lastMs: number;
  /** Per ms, of the last seconds. */
  readonly recent: number;
  /** Per ms, of the last minutes; and how it changes, per ms and ms. */
  readonly level: number;
  readonly trend: number;
  /** For each part of the day: mean rate, mean of its square, and days seen. */
  readonly day: readonly (readonly [mean: number, square: number, days: number])[];
  readonly part: { readonly index: number; readonly arrivals: number; readonly ms: number };
}

const NO_EVIDENCE: readonly Evidence[] = RATIOS.map(() => ({ score: 0, arrivals: 0, ms: 0 }));

/** Nothing has come. @param nowMs on the caller's clock */
export function noArrivals(nowMs: number): Arrivals {
  const day = Array.from({ length: DAY_PARTS }, () => [0, 0, 0] as const);
  const part = { index: partOf(nowMs), arrivals: 0, ms: 0 };
  return {
    atMs: nowMs,
    planned: 0,
    isMeasured: false,
    since: { arrivals: 0, ms: 0, next: FIRST_ARRIVALS },
    evidence: NO_EVIDENCE,
    lastMs: -1,
    recent: 0,
    level: 0,
    trend: 0,
    day,
    part,
  };
}

function partOf(ms: number): number {
  const ofDay = ((ms % DAY_MS) + DAY_MS) % DAY_MS;
  return Math.floor((ofDay * DAY_PARTS) / DAY_MS);
}

/**
 * Adds what came since the last time.
 *
 * @param count tasks that came, 0 or more
 * @param nowMs not before the last time; a clock that went back counts as no time
 * @param enough evidence at which another rate is believed, as a logarithm: a steady load of a known rate passes it
 *   less than once in e^enough arrivals
 */
export function observe(before: Arrivals, count: number, nowMs: number, enough: number): Arrivals {
  const ms = Math.max(0, nowMs - before.atMs);
  const lastMs = count > 0 ? nowMs : before.lastMs;
  const { recent, level, trend } = followed(before, count, ms);
  const { day, part } = ofDay(before, count, ms, nowMs);
  // One object for each call, that the rest fills in: policies are asked once a second and simulated for days.
  const { planned, isMeasured, since, evidence } = before;
  const state: Draft = {
    atMs: nowMs,
    planned,
    isMeasured,
    since,
    evidence,
    lastMs,
    recent,
    level,
    trend,
    day,
    part,
  };
  return isMeasured ? tested(state, count, ms, enough) : begun(state, count, ms);
}

/** The next state while it is made. */
type Draft = { -readonly [K in keyof Arrivals]: Arrivals[K] };

type Followed = Pick<Arrivals, 'recent' | 'level' | 'trend'>;

function followed({ recent, level, trend }: Arrivals, count: number, ms: number): Followed {
  if (ms === 0) return { recent, level, trend };
  const weight = 1 - Math.exp(-ms / LEVEL_MS);
  const expected = Math.max(0, level + trend * ms);
  const next = expected + weight * (count / ms - expected);
  const slope = (next - level) / ms;
  const now = recent + (1 - Math.exp(-ms / RECENT_MS)) * (count / ms - recent);
  return { recent: now, level: next, trend: trend + (1 - Math.exp(-ms / TREND_MS)) * (slope - trend) };
}

function ofDay(before: Arrivals, count: number, ms: number, nowMs: number): Pick<Arrivals, 'day' | 'part'> {
  const { day, part } = before;
  const index = partOf(nowMs);
  const grown = { index: part.index, arrivals: part.arrivals + count, ms: part.ms + ms };
  if (index === part.index) return { day, part: grown };
  // A part of which little was seen says nothing.
  if (grown.ms < DAY_MS / DAY_PARTS / 2) return { day, part: { index, arrivals: 0, ms: 0 } };
  const rate = grown.arrivals / grown.ms;
  const [mean, square, days] = day[part.index]!;
  const weight = Math.max(NEWEST_DAY, 1 / (days + 1));
  const seen = [mean + weight * (rate - mean), square + weight * (rate * rate - square), days + 1] as const;
  return { day: day.with(part.index, seen), part: { index, arrivals: 0, ms: 0 } };
}

// Until there is a rate: the best guess of what came.
function begun(state: Draft, count: number, ms: number): Arrivals {
  if (state.lastMs < 0) return state;
  const arrivals = state.since.arrivals + count;
  const sinceMs = state.since.ms + ms;
  const isMeasured = arrivals >= FIRST_ARRIVALS || (sinceMs >= LONG_ENOUGH_MS && arrivals > 1);
  const rate = arrivals / Math.max(sinceMs, 1000);
  state.since = { arrivals, ms: sinceMs, next: FIRST_ARRIVALS * (isMeasured ? 4 : 1) };
  state.planned = isMeasured ? rate : Math.max(rate, state.planned);
  state.isMeasured = isMeasured;
  return state;
}

// A rate of few arrivals is off by chance: it is measured again of more.
function refined(state: Draft, count: number, ms: number): Arrivals {
  const { next } = state.since;
  if (next === null) return state;
  const since = { arrivals: state.since.arrivals + count, ms: state.since.ms + ms, next };
  state.since = since;
  if (since.arrivals < next) return state;
  const isDone = since.arrivals >= ENOUGH_ARRIVALS && since.ms >= LONG_ENOUGH_MS;
  state.planned = since.arrivals / Math.max(since.ms, 1);
  state.evidence = NO_EVIDENCE;
  state.since = { ...since, next: isDone ? null : 4 * next };
  return state;
}

function tested(state: Draft, count: number, ms: number, enough: number): Arrivals {
  const { planned } = state;
  const evidence: Evidence[] = [];
  let found = -1;
  for (let i = 0; i < RATIOS.length; i++) {
    const { score, arrivals, ms: since } = state.evidence[i]!;
    const sum = score + count * LOGARITHMS[i]! - (RATIOS[i]! - 1) * planned * ms;
    evidence.push(sum <= 0 ? NO_EVIDENCE[i]! : { score: sum, arrivals: arrivals + count, ms: since + ms });
    if (found < 0 && evidence[i]!.score >= enough) found = i;
  }
  if (found < 0) {
    state.evidence = evidence;
    return refined(state, count, ms);
  }
  const { arrivals, ms: sinceMs } = evidence[found]!;
  // Of a slower rate no less than what may still be: one arrival more and a deviation.
  const isFaster = found < FASTER.length;
  const rate = isFaster ? arrivals / Math.max(sinceMs, 1) : (arrivals + 1 + Math.sqrt(arrivals)) / sinceMs;
  const next = isFaster ? Math.max(rate, planned * FASTER[found]!) : Math.min(rate, planned * 0.9);
  state.planned = next;
  state.evidence = NO_EVIDENCE;
  state.since = { arrivals, ms: sinceMs, next: Math.max(FIRST_ARRIVALS, 2 * arrivals) };
  return state;
}

/** The rate of the last seconds where it is surely above the planned one, otherwise the planned one; per ms. */
export function presentRate({ planned, recent }: Arrivals): number {
  const surely = recent - Math.sqrt(recent / (2 * RECENT_MS));
  return surely > planned ? recent : planned;
}

/**
 * The rate to be ready for: the largest of what the trend and earlier days say.
 *
 * @param aheadMs how far to look ahead: as long as an instance takes to start
 * @param deviations how many standard deviations of the days are added; see `deviationsOf`
 * @returns per ms; 0: nothing is known
 */
export function forecastRate(state: Arrivals, aheadMs: number, deviations: number): number {
  // The trend counts for as long as it was watched, and when it cannot be chance.
  const { level, trend, atMs } = state;
  const rise = trend * Math.min(aheadMs, TREND_MS);
  const isRising = rise > 3 * Math.sqrt(level / LEVEL_MS) && level > 0;
  let rate = isRising ? level + rise : 0;
  for (const ms of [atMs, atMs + aheadMs]) {
    const [mean, square, days] = state.day[partOf(ms)]!;
    if (days < 2) continue;
    rate = Math.max(rate, mean + deviations * Math.sqrt(Math.max(0, square - mean * mean)));
  }
  return rate;
}

/** A quantile, 0.5 to 0.9999, of the normal distribution in standard deviations (Abramowitz and Stegun 26.2.23). */
export function deviationsOf(quantile: number): number {
  const t = Math.sqrt(-2 * Math.log(1 - quantile));
  const above = 2.515517 + 0.802853 * t + 0.010328 * t * t;
  return Math.max(0, t - above / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t * t * t));
}
