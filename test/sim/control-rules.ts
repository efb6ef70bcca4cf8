// What must never happen to leases, leaders, members and addresses, seen from outside: by the simulation's own clock,
// and from what its server has applied.
//
// Invariant: nothing here asks the code under test what it believes about others, only whether it acts now.
import { readFenced } from '../../src/ts/control/fenced.js';
import { type LeaseRecord, readLeaseRecord } from '../../src/ts/control/lease-record.js';
import type { Election, Leadership } from '../../src/ts/control/election.js';
import type { Member } from '../../src/ts/control/members.js';
import { type Entry, readJson } from '../../src/ts/control/store.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import type { Applied, SimControlServer } from './control-store.js';

/** Clocks run at 1 - DRIFT to 1 + DRIFT. */
export const DRIFT = 0.04;
/** So long after it has come back all who are connected know. */
const KNOWN_MS = 1000;
/** No answer that is heeded is older. */
const ANSWER_MS = 1000;
export const LEADER_KEY = 'leader';
export const PLAN_KEY = 'plan';
export const PLACES = 'places.';

export interface Candidate {
  readonly process: SimProcess;
  readonly election: Election;
}

const isLease = (key: string) => key === LEADER_KEY || key.startsWith('members.');

export class ControlRules {
  /** Those who may lead. */
  readonly candidates = new Set<Candidate>();
  /** Times at which each lease was renewed, as far as the server knows. */
  private readonly renewed = new Map<string, { holder: string; term: number; timesMs: number[] }>();
  private highest = 0;
  takeovers = 0;

  constructor(
    private readonly world: SimWorld,
    private readonly server: SimControlServer,
  ) {
    server.onApply = (applied) => this.onApply(applied);
    world.onStep = () => this.onStep();
  }

  /** Who acts as the leader at this moment. */
  acting(): Leadership[] {
    const leaders: Leadership[] = [];
    for (const { process, election } of this.candidates) {
      if (process.state !== 'running') continue;
      const { leadership } = election;
      if (leadership !== undefined) leaders.push(leadership);
    }
    return leaders;
  }

  private onStep(): void {
    const leaders = this.acting();
    if (leaders.length < 2) return;
    this.world.broken.push(`two leaders act, in the terms ${leaders.map(({ term }) => term).join(' and ')}`);
  }

  private onApply(applied: Applied): void {
    const { key, before, after } = applied;
    if (isLease(key)) this.onLease(applied, readLeaseRecord(before), readLeaseRecord(after));
    if (key === PLAN_KEY) this.onTerm(key, termOf(before), termOf(after));
    if (key.startsWith(PLACES)) this.onTerm(key, addressTerm(before), addressTerm(after));
  }

  private onTerm(key: string, before: number, after: number): void {
    if (after < before) this.world.broken.push(`${key} went back from term ${before} to ${after}`);
  }

  private onLease(
    { key, atMs, askedMs }: Applied,
    before: LeaseRecord | undefined,
    after: LeaseRecord | undefined,
  ): void {
    if (after === undefined) return;
    // What was asked for before its author knew that the server has forgotten may hit a revision that was given twice.
    const isExcused = this.server.hasForgotten && askedMs < this.server.roseMs + KNOWN_MS;
    if (before !== undefined && after.holder !== before.holder) {
      this.takeovers++;
      const last = this.renewed.get(key);
      const heldMs = last?.holder === before.holder ? atMs - last.timesMs.at(-1)! : Number.POSITIVE_INFINITY;
      // One that was asked for before the server forgot may hit the same number again.
      if (!before.free && heldMs < before.leaseMs / (1 + DRIFT) && !isExcused)
        this.world.broken.push(`${key}: ${before.holder} was displaced ${heldMs.toFixed(0)} ms after it had renewed`);
      if (after.term <= before.term && !isExcused)
        this.world.broken.push(`${key}: term ${after.term} follows term ${before.term}`);
    }
    if (before !== undefined && after.term < before.term && !isExcused)
      this.world.broken.push(`${key}: term ${before.term} went back to ${after.term}`);
    if (key === LEADER_KEY && before?.holder !== after.holder) {
      if (after.term <= this.highest && !this.server.hasForgotten)
        this.world.broken.push(`term ${after.term} was given after term ${this.highest}`);
      this.highest = Math.max(this.highest, after.term);
    }
    const last = this.renewed.get(key);
    const timesMs = last?.holder === after.holder && last.term === after.term ? last.timesMs : [];
    timesMs.push(atMs);
    this.renewed.set(key, { holder: after.holder, term: after.term, timesMs });
  }

  /** A member was taken for lost. */
  onLost({ name, incarnation }: Member, by: string): void {
    const last = this.renewed.get(`members.${name}`);
    const record = readLeaseRecord(this.server.entries.get(`members.${name}`));
    if (last?.term !== incarnation || record === undefined || record.free || this.server.hasForgotten) return;
    const { nowMs } = this.world.scheduler;
    // The answer that said so may have been under way for as long as the store's time-out.
    const fromMs = nowMs - record.leaseMs / (1 + DRIFT);
    const renewed = last.timesMs.find((atMs) => atMs > fromMs && atMs < nowMs - ANSWER_MS);
    if (renewed !== undefined)
      this.world.broken.push(`${name} was lost to ${by} ${(nowMs - renewed).toFixed(0)} ms after it had renewed`);
  }
}

function termOf(entry: Entry | undefined): number {
  return entry === undefined ? 0 : readFenced(entry).term;
}

function addressTerm(entry: Entry | undefined): number {
  return entry === undefined ? 0 : (readJson(entry) as { term: number }).term;
}
