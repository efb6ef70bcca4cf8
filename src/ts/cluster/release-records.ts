// The records of the versions of an app: the release that operators want, and what the controller has made of it.
//
// Invariant: one writer for each record: operators write `releases.APP`, the controller that leads writes
// `versions.APP`. Numbers of releases grow. A version is an app of its own below (`apps.APP=VERSION`): its name means
// one content as long as the record has it.
import { isDeepStrictEqual } from 'node:util';
import { checkInteger, checkObject, checkOneOf, checkString, invalidArgument } from '../core/validate.js';
import { type Entry, readFenced, readJson } from '../control/index.js';
import { checkSpec, type WorkflowSizes, type WorkflowSpec } from '../pipeline/index.js';
import { type App, checkName, once } from './cluster-records.js';

export const RELEASES = 'releases.';
export const VERSIONS = 'versions.';

const VERSION = /^[-\w]{1,32}$/;
const HASH = /^[0-9a-f]{64}$/;
/** So many versions that were current are remembered. */
export const MAX_PAST = 8;
/** So many outcomes of releases are remembered. */
export const MAX_OUTCOMES = 16;

/** The code of a version. */
export interface VersionCode {
  /** The file that exports the workflow, with its folder, on every node. */
  readonly module: string;
  /** SHA-256 of that file, in hex. */
  readonly hash: string;
  readonly spec: WorkflowSpec;
  readonly sizes: WorkflowSizes;
}

/** What operators want of an app. */
export interface Release {
  /** Grows with each deploy and rollback of the app. */
  readonly number: number;
  readonly kind: 'deploy' | 'rollback';
  readonly version: string;
  readonly code: VersionCode;
  /** How long the version may take until all of its places work, in ms. */
  readonly readyWithinMs: number;
  /** How many instances a stage shall have, where that was said by hand; it holds for all versions. */
  readonly counts: Readonly<Record<string, number>>;
}

/** What became of a release. */
export interface ReleaseOutcome {
  readonly release: number;
  readonly version: string;
  /** `superseded`: another release came before this one was ready. */
  readonly type: 'current' | 'rolled-back' | 'superseded';
  /** Why it is not current, or was not checked; null: there is nothing to say. */
  readonly reason: string | null;
}

/** A version that is being brought up. */
export interface NextVersion {
  readonly version: string;
  readonly release: number;
  readonly kind: Release['kind'];
  readonly readyWithinMs: number;
}

/** The versions of an app. */
export interface VersionsRecord {
  /** Number of the release that was taken up last. */
  readonly release: number;
  /** Where new requests go; null: nowhere yet. */
  readonly current: string | null;
  readonly next: NextVersion | null;
  /** Versions that take no new requests, and may have some still. */
  readonly draining: readonly string[];
  /** Versions that were current, the last one first. */
  readonly past: readonly string[];
  /** The code of all of these. */
  readonly codes: Readonly<Record<string, VersionCode>>;
  /** Of the last releases, the newest last. */
  readonly outcomes: readonly ReleaseOutcome[];
}

export const NO_VERSIONS: VersionsRecord = Object.freeze({
  release: 0,
  current: null,
  next: null,
  draining: [],
  past: [],
  codes: {},
  outcomes: [],
});

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for what cannot name a version: 1 to 32 letters, digits, `-`, `_` */
export function checkVersion(version: unknown): string {
  return checkString('version', version, { pattern: VERSION });
}

/** Names the app that a version is below. */
export const versionApp = (app: string, version: string): string => `${app}=${version}`;

/** Whose version an app below is; undefined: it is none. */
export function versionOf(name: string): { app: string; version: string } | undefined {
  const at = name.lastIndexOf('=');
  if (at <= 0 || at === name.length - 1) return undefined;
  return { app: name.slice(0, at), version: name.slice(at + 1) };
}

/** Versions that have places, the current one first. */
export function liveVersions({ current, next, draining }: VersionsRecord): string[] {
  return [...(current === null ? [] : [current]), ...draining, ...(next === null ? [] : [next.version])];
}

/**
 * The app that a live version is below.
 *
 * @param counts as operators have said them; they fix a stage that is scaled by its load
 * @param before how many instances of scaled stages there are to begin with: the load goes on from there. Also of a
 *   stage that sleeps one is started, so that the version is tried before it is current
 */
export function appOf(
  app: string,
  version: string,
  code: VersionCode,
  counts: Release['counts'],
  before: Readonly<Record<string, number>> = {},
): App {
  const wanted = code.spec.stages.map(({ name, instances, scale }) => {
    const begun = scale === undefined || before[name] === undefined ? instances : Math.max(1, before[name]);
    return [name, counts[name] ?? begun] as const;
  });
  const fixed = code.spec.stages.filter(({ name, scale }) => scale !== undefined && counts[name] !== undefined);
  return {
    name: versionApp(app, version),
    ...code,
    wanted: Object.fromEntries(wanted),
    ...(fixed.length === 0 ? {} : { fixed: fixed.map(({ name }) => name) }),
  };
}

/** Whether two versions are the same: file, place and graph. */
export function isSameCode(a: VersionCode, b: VersionCode): boolean {
  return a.hash === b.hash && a.module === b.module && isDeepStrictEqual(plain(a), plain(b));
}

const plain = ({ spec, sizes }: VersionCode): unknown => JSON.parse(JSON.stringify([spec, sizes]));

const releases = new WeakMap<Entry, Release>();
const records = new WeakMap<Entry, VersionsRecord>();

/** What operators want; an entry is read once. @throws RdmaError RDMA_ERR_PROTOCOL naming the record */
export function readRelease(entry: Entry): Release {
  return once(releases, entry, () => {
    const { number, kind, version, code, readyWithinMs, counts } = checkObject<Release>('a release', readJson(entry));
    for (const [stage, count] of Object.entries(checkObject<Record<string, number>>('counts', counts)))
      checkInteger(`counts.${stage}`, count, 1, 64);
    return {
      number: checkInteger('number', number, 1),
      kind: checkOneOf('kind', kind, ['deploy', 'rollback']),
      version: checkVersion(version),
      code: checkCode(code),
      readyWithinMs: checkInteger('readyWithinMs', readyWithinMs, 1),
      counts,
    };
  });
}

/** The versions of an app; an entry is read once. @throws RdmaError RDMA_ERR_PROTOCOL naming the record */
export function readVersions(entry: Entry): VersionsRecord {
  return once(records, entry, () => {
    const record = checkObject<VersionsRecord>('versions', readFenced(entry).value);
    const { release, current, next, draining, past, outcomes } = record;
    for (const [name, list] of Object.entries({ draining, past, outcomes }))
      if (!Array.isArray(list)) throw invalidArgument(name, list, 'a list');
    const codes: Record<string, VersionCode> = {};
    for (const [version, code] of Object.entries(checkObject<Record<string, VersionCode>>('codes', record.codes)))
      codes[checkVersion(version)] = checkCode(code);
    const read = { release: checkInteger('release', release, 0), current, next, draining, past, codes, outcomes };
    for (const version of [...liveVersions(read), ...past])
      if (codes[version] === undefined) throw invalidArgument('codes', version, 'a code of each version');
    return read;
  });
}

function checkCode(code: unknown): VersionCode {
  const { module, hash, spec, sizes } = checkObject<VersionCode>('code', code);
  return {
    module: checkString('module', module, { minLength: 1, maxLength: 4096 }),
    hash: checkString('hash', hash, { pattern: HASH }),
    spec: checkSpec(spec),
    sizes: checkObject<WorkflowSizes>('sizes', sizes),
  };
}

/** The key of an app's release. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export const releaseKey = (app: string): string => RELEASES + checkName('app', app);
