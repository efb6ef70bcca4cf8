// The lifecycle of the versions of an app: from the wanted release and the state of its versions to the next record.
//
// Invariant: a pure function, and deciding again on its answer changes nothing. There is at most one current version,
// and once there is one there always is. A version becomes current when all of its places work; a version that does not
// work leaves the current one as it was. A former version keeps its places until no gateway has a request in it, and
// its code for a rollback. Releases are taken up in the order of their numbers.
import {
  isSameCode,
  liveVersions,
  MAX_OUTCOMES,
  MAX_PAST,
  NO_VERSIONS,
  type Release,
  type ReleaseOutcome,
  type VersionCode,
  type VersionsRecord,
} from './release-records.js';

/** How a version does that has places. */
export interface VersionState {
  /** Whether it ever had a plan. */
  readonly hasPlan: boolean;
  /** How many gateways are at it. */
  readonly gateways: number;
  /** What is missing until all of its places work, in words; undefined: nothing. */
  readonly missing: string | undefined;
  /** Why one of its places does not work, and is not expected to soon; undefined: none is so. */
  readonly broken: string | undefined;
}

/** What is known of the versions of an app. */
export interface KnownVersions {
  /** undefined: the app was removed. */
  readonly release: Release | undefined;
  readonly record: VersionsRecord | undefined;
  /** By version; of one that is not here nothing is known, and it has no gateway. */
  readonly states: Readonly<Record<string, VersionState>>;
  /** For how long `next` of the record was seen to be brought up, in ms. */
  readonly waitedMs: number;
}

const UNKNOWN: VersionState = { hasPlan: false, gateways: 0, missing: 'it has no places yet', broken: undefined };

/**
 * Decides.
 *
 * @returns the record; undefined: there is to be none
 */
export function nextVersions({ release, record, states, waitedMs }: KnownVersions): VersionsRecord | undefined {
  if (release === undefined) return undefined;
  const before = record ?? NO_VERSIONS;
  const taken = release.number > before.release ? takeUp(before, release) : before;
  // Nobody has looked at one that was taken up just now.
  const settled = settleNext(taken, states, taken.next?.release === before.next?.release ? waitedMs : 0);
  const draining = settled.draining.filter((version) => (states[version] ?? UNKNOWN).gateways > 0);
  return forgetCodes({ ...settled, draining });
}

function takeUp(record: VersionsRecord, release: Release): VersionsRecord {
  const { number, version, code, kind, readyWithinMs } = release;
  const taken = { ...record, release: number };
  const known = record.codes[version];
  if (known !== undefined && !isSameCode(known, code)) {
    return withOutcome(taken, release, 'rolled-back', `${version} is other code already: ${known.module}`);
  }
  const codes = { ...record.codes, [version]: code };
  if (record.current === null) return withOutcome({ ...taken, codes, current: version }, release, 'current', null);
  const { next } = record;
  const reason = `release ${number} came before it was ready`;
  let free = taken;
  if (next !== null) {
    free = withOutcome({ ...taken, next: null }, { ...next, number: next.release }, 'superseded', reason);
    if (next.version !== version) free = { ...free, draining: [...free.draining, next.version] };
  }
  if (version === record.current) return withOutcome(free, release, 'current', null);
  const draining = free.draining.filter((each) => each !== version);
  return { ...free, codes, draining, next: { version, release: number, kind, readyWithinMs } };
}

function settleNext(record: VersionsRecord, states: KnownVersions['states'], waitedMs: number): VersionsRecord {
  const { next, current } = record;
  if (next === null || current === null) return record;
  const { version, readyWithinMs } = next;
  const state = states[version] ?? UNKNOWN;
  const rollBack = (reason: string): VersionsRecord => {
    const back = { ...record, next: null, draining: [...record.draining, version] };
    return withOutcome(back, { ...next, number: next.release }, 'rolled-back', reason);
  };
  if (state.broken !== undefined) return rollBack(state.broken);
  if (state.hasPlan && state.missing === undefined) return makeCurrent(record, null);
  const { hasPlan, gateways } = states[current] ?? UNKNOWN;
  // Nothing of the app runs, so there is nobody to protect, nor anybody through whom its places could be tried.
  if (!hasPlan && gateways + state.gateways === 0)
    return makeCurrent(record, `no gateway is connected, so nobody knows whether it works`);
  if (waitedMs >= readyWithinMs) return rollBack(`not ready within ${readyWithinMs} ms: ${state.missing}`);
  return record;
}

function makeCurrent(record: VersionsRecord, reason: string | null): VersionsRecord {
  const { version, release } = record.next!;
  const former = record.current!;
  const past = [former, ...record.past.filter((each) => each !== former && each !== version)].slice(0, MAX_PAST);
  const draining = [...record.draining, former];
  const switched = { ...record, current: version, next: null, draining, past };
  return withOutcome(switched, { number: release, version }, 'current', reason);
}

function withOutcome(
  record: VersionsRecord,
  { number, version }: Pick<Release, 'number' | 'version'>,
  type: ReleaseOutcome['type'],
  reason: string | null,
): VersionsRecord {
  const outcomes = [...record.outcomes, { release: number, version, type, reason }].slice(-MAX_OUTCOMES);
  return { ...record, outcomes };
}

// Only what may be needed again is kept.
function forgetCodes(record: VersionsRecord): VersionsRecord {
  const names = new Set([...liveVersions(record), ...record.past]);
  const codes: Record<string, VersionCode> = {};
  for (const [version, code] of Object.entries(record.codes)) if (names.has(version)) codes[version] = code;
  return { ...record, codes };
}

/** The version that a rollback goes to: what is brought up is given up first. undefined: there is none. */
export function rollbackTarget({ current, next, past }: VersionsRecord): string | undefined {
  return next === null ? past[0] : (current ?? undefined);
}

/** What happened between two records. */
export interface VersionEvent {
  readonly type: 'deployed' | 'switched' | 'rolled-back' | 'superseded' | 'emptied' | 'undeployed';
  readonly words: string;
  readonly version: string | null;
}

/** What happened to an app between two of its records, in order. */
export function versionEvents(
  app: string,
  before: VersionsRecord | undefined,
  after: VersionsRecord | undefined,
): VersionEvent[] {
  if (after === undefined) {
    return before === undefined ? [] : [{ type: 'undeployed', words: `${app} was removed`, version: null }];
  }
  const old = before ?? NO_VERSIONS;
  const events: VersionEvent[] = [];
  const add = (type: VersionEvent['type'], version: string, text: string) =>
    events.push({ type, version, words: text });
  const isFirst = old.current === null && after.current !== null;
  if (isFirst) add('deployed', after.current!, `${app} is deployed, in version ${after.current}`);
  const known = new Set(old.outcomes.map(outcomeKey));
  for (const outcome of after.outcomes.filter((each) => !known.has(outcomeKey(each)))) {
    const { version, type, reason } = outcome;
    if (type === 'rolled-back')
      add(type, version, `${app}: version ${version} was taken back, ${after.current} goes on: ${reason}`);
    if (type === 'superseded') add(type, version, `${app}: version ${version} was given up: ${reason}`);
  }
  const isNew = after.next !== null && after.next.release !== old.next?.release;
  if (isNew) add('deployed', after.next.version, `${app}: version ${after.next.version} is brought up`);
  if (!isFirst && after.current !== null && after.current !== old.current)
    add('switched', after.current, `${app}: new requests go to version ${after.current}, no longer to ${old.current}`);
  const lives = new Set(liveVersions(after));
  for (const version of liveVersions(old))
    if (!lives.has(version)) add('emptied', version, `${app}: version ${version} has no requests and no places now`);
  return events;
}

const outcomeKey = ({ release, type }: ReleaseOutcome): string => `${release} ${type}`;
