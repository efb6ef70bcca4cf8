// The operations on the apps of a cluster: deploy, roll back, remove, drain.
//
// Invariant: each of them is one write against the revision that was read; two operators at once do not undo each
// other. The controller does the rest.
import { readFile } from 'node:fs/promises';
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject } from '../core/validate.js';
import { type ControlStore, type Entry, systemControlPort } from '../control/index.js';
import type { Workflow } from '../pipeline/index.js';
import { hashOf } from './app-host.js';
import { writeMark } from './app-records.js';
import { APPS, asJson, checkName, DRAINS } from './cluster-records.js';
import {
  checkVersion,
  isSameCode,
  NO_VERSIONS,
  readRelease,
  readVersions,
  type Release,
  releaseKey,
  RELEASES,
  type ReleaseOutcome,
  type VersionCode,
  type VersionsRecord,
  VERSIONS,
} from './release-records.js';
import { rollbackTarget } from './versions.js';
import { VersionsView } from './versions-view.js';
import { Waiters } from './waiters.js';

const MAX_TRIES = 10;
const MAX_READY_MS = 86_400_000;
/** How long a new version may take until all of its places work, in ms. */
export const READY_WITHIN_MS = 300_000;
/** Digits of a content's hash that name a version. */
const HASH_DIGITS = 12;
/** How much longer than the version may take whoever waits for it waits, for a controller to act. */
const CONTROLLER_MS = 30_000;

/** How to deploy. */
export interface DeployOptions {
  /** 1 to 32 letters, digits, `-` and `_`; default: the first 12 digits of its content's hash. */
  readonly version?: string | undefined;
  /** How long it may take until all of its places work, in ms, 1 to 86 400 000; default 300 000. */
  readonly readyWithinMs?: number | undefined;
}

/** How to roll back. */
export interface RollbackOptions {
  /** One of the versions that were current; default: the last of them, or, while one is brought up, the current one. */
  readonly to?: string | undefined;
  /** As that of {@link DeployOptions}. */
  readonly readyWithinMs?: number | undefined;
}

/** A release, as it was written or was there. */
export interface Deployed {
  readonly app: string;
  readonly version: string;
  /** Its number. */
  readonly release: number;
  readonly module: string;
  readonly hash: string;
  /** False: the same is deployed already. */
  readonly isNew: boolean;
  /** What takes requests until this one does; null: nothing. */
  readonly former: string | null;
  readonly readyWithinMs: number;
}

/**
 * Deploys a version of a workflow: the cluster brings it up beside the one that is current, and new requests go to it
 * once all of its places work. One that does not become ready is taken back. Where nothing is deployed it is current
 * at once.
 *
 * @param workflow exported by its module, which is a file with the same content on every node, at the same path
 * @returns what was deployed; {@link whenReleased} waits for what becomes of it
 * @throws RdmaError RDMA_ERR_NOT_FOUND when its module cannot be read here; RDMA_ERR_CONFLICT when the version is
 *   other code; RDMA_ERR_INVALID_ARGUMENT; those of ControlStore.put
 */
export async function deploy(store: ControlStore, workflow: Workflow, options: DeployOptions = {}): Promise<Deployed> {
  const { version: given, readyWithinMs } = checkObject<DeployOptions>('options', options);
  const { name, module, spec, sizes } = workflow;
  checkName('the name of the workflow', name);
  const bytes = await readFile(module).catch((cause) => {
    throw new RdmaError('RDMA_ERR_NOT_FOUND', `${module} cannot be read`, { cause });
  });
  const code: VersionCode = { module, hash: hashOf(bytes), spec, sizes };
  const wished = given === undefined ? undefined : checkVersion(given);
  return release(store, name, readyWithinMs, ({ record, target }) => {
    if (target !== undefined && isSameCode(target.code, code) && (wished ?? target.version) === target.version) {
      return undefined;
    }
    const current = record.current === null ? undefined : record.codes[record.current];
    const isCurrent = current !== undefined && isSameCode(current, code);
    // Without a version its content says which one it is.
    const version = wished ?? (isCurrent ? record.current! : code.hash.slice(0, HASH_DIGITS));
    const known = record.codes[version] ?? (target?.version === version ? target.code : code);
    if (!isSameCode(known, code)) throw otherCode(name, version, known, code);
    return { kind: 'deploy', version, code };
  });
}

function otherCode(app: string, version: string, known: VersionCode, code: VersionCode): RdmaError {
  const what = known.hash === code.hash ? `of ${known.module}, or of another graph` : `other code: ${known.module}`;
  return new RdmaError('RDMA_ERR_CONFLICT', `version ${version} of ${app} is ${what}`, {
    remedy: 'give the new one a version of its own: --version',
  });
}

/**
 * Goes back to a version that was current: it is brought up again like a new one.
 *
 * @throws RdmaError RDMA_ERR_NOT_FOUND when there is no such app or version; RDMA_ERR_INVALID_ARGUMENT
 */
export async function rollback(store: ControlStore, app: string, options: RollbackOptions = {}): Promise<Deployed> {
  const { to, readyWithinMs } = checkObject<RollbackOptions>('options', options);
  if (to !== undefined) checkVersion(to);
  return release(store, checkName('app', app), readyWithinMs, ({ record, target, isTakenUp }) => {
    if (target === undefined) throw noApp(app);
    const version = to ?? (isTakenUp ? rollbackTarget(record) : (record.current ?? undefined));
    if (version === undefined) {
      throw new RdmaError('RDMA_ERR_NOT_FOUND', `${app} has no version to go back to: ${target.version} is its first`);
    }
    if (!record.past.includes(version) && record.current !== version) {
      throw new RdmaError('RDMA_ERR_NOT_FOUND', `${app} was never under version ${version}`, {
        remedy: `versions to go back to: ${record.past.join(', ') || 'none'}`,
      });
    }
    if (version === target.version) return undefined;
    return { kind: 'rollback', version, code: record.codes[version]! };
  });
}

interface Seen {
  readonly record: VersionsRecord;
  /** What is to be current in the end, if all goes well; undefined: there is no such app. */
  readonly target: { readonly version: string; readonly code: VersionCode } | undefined;
  /** Whether the controller has seen the last release. */
  readonly isTakenUp: boolean;
}

function seenOf(record: VersionsRecord, last: Release | undefined): Seen {
  const isTakenUp = last === undefined || record.release >= last.number;
  const version = record.next?.version ?? record.current;
  if (last === undefined || !isTakenUp || version === null) return { record, target: last, isTakenUp };
  return { record, target: { version, code: record.codes[version]! }, isTakenUp };
}

// Writes what is decided from what there is; undefined: it is so already.
async function release(
  store: ControlStore,
  app: string,
  readyWithinMs: number | undefined,
  decide: (seen: Seen) => Pick<Release, 'kind' | 'version' | 'code'> | undefined,
): Promise<Deployed> {
  const withinMs = checkInteger('readyWithinMs', readyWithinMs ?? READY_WITHIN_MS, 1, MAX_READY_MS);
  return patiently(async () => {
    const entry = await store.get(releaseKey(app));
    const last = entry === undefined ? undefined : readRelease(entry);
    const record = await versionsOf(store, app);
    const seen = seenOf(record, last);
    const decided = decide(seen);
    const { version, code } = decided ?? seen.target!;
    const former = record.current === version ? null : record.current;
    const common = { app, version, module: code.module, hash: code.hash, former };
    if (decided === undefined)
      return { ...common, release: last!.number, isNew: false, readyWithinMs: last!.readyWithinMs };
    const number = Math.max(last?.number ?? 0, record.release) + 1;
    const next: Release = { ...decided, number, readyWithinMs: withinMs, counts: last?.counts ?? {} };
    for (const prefix of [APPS, VERSIONS, RELEASES]) await writeMark(store, prefix);
    await store.put(releaseKey(app), asJson(next), { expected: entry?.revision ?? 0 });
    return { ...common, release: number, isNew: true, readyWithinMs: withinMs };
  });
}

/** @internal What there is of an app's versions. */
export async function versionsOf(store: ControlStore, app: string): Promise<VersionsRecord> {
  const entry = await store.get(VERSIONS + app);
  return entry === undefined ? NO_VERSIONS : readVersions(entry);
}

/** @internal Does it again when somebody else has written meanwhile. */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      const { code, remedy } = error as RdmaError;
      if (code !== 'RDMA_ERR_CONFLICT' || remedy !== undefined || tries === MAX_TRIES) throw error;
    }
  }
}

/**
 * Waits for what becomes of a release.
 *
 * @param deployed as deploy() or rollback() answered it
 * @returns its outcome: `rolled-back` and `superseded` say why
 * @throws RdmaError RDMA_ERR_TIMEOUT when no controller has decided 30 s after it had to be ready; RDMA_ERR_NOT_FOUND
 *   when the app is removed meanwhile
 */
export async function whenReleased(store: ControlStore, deployed: Deployed): Promise<ReleaseOutcome> {
  const { app, release: number, version, readyWithinMs } = deployed;
  let outcome: ReleaseOutcome | undefined;
  const waiters = new Waiters(() => undefined);
  const view = new VersionsView(store, {
    leaseMs: 3000,
    port: systemControlPort,
    onChange: () => waiters.review(),
  });
  const isDecided = () => {
    if (!view.isSynced) return false;
    if (view.release(app) === undefined) throw noApp(app);
    const record = view.record(app) ?? NO_VERSIONS;
    outcome = record.outcomes.find((each) => each.release === number);
    if (outcome !== undefined || record.next?.release === number || record.release < number)
      return outcome !== undefined;
    // So many came after it that it is not remembered.
    const type = record.current === version ? 'current' : 'superseded';
    outcome = { release: number, version, type, reason: null };
    return true;
  };
  const words = () => {
    const { release = 0 } = view.record(app) ?? NO_VERSIONS;
    const why = release < number ? 'no controller has taken it up: does a node run?' : 'the controller does not decide';
    return `nothing has become of version ${version} of ${app} within ${readyWithinMs + CONTROLLER_MS} ms: ${why}`;
  };
  try {
    await waiters.until(isDecided, readyWithinMs + CONTROLLER_MS, words);
    return outcome!;
  } finally {
    await view.close();
  }
}

/** Removes an app, with all versions: its processes end, and its requests fail. @throws RdmaError RDMA_ERR_NOT_FOUND */
export async function undeploy(store: ControlStore, name: string): Promise<void> {
  const entry = await releaseOf(store, checkName('app', name));
  await store.delete(entry.key, entry.revision);
}

/** @internal The record of what is wanted. @throws RdmaError RDMA_ERR_NOT_FOUND */
export async function releaseOf(store: ControlStore, app: string): Promise<Entry> {
  const entry = await store.get(releaseKey(app));
  if (entry === undefined) throw noApp(app);
  return entry;
}

const noApp = (name: string) => new RdmaError('RDMA_ERR_NOT_FOUND', `no app ${name} is deployed`);

/**
 * Empties a node, or lets it have places again. Places are replaced elsewhere first; what runs there ends its work.
 *
 * @throws those of ControlStore.put
 */
export async function drainNode(store: ControlStore, node: string, isDraining = true): Promise<void> {
  const key = DRAINS + checkName('node', node);
  if (isDraining) await store.put(key, true);
  else await store.delete(key);
}
