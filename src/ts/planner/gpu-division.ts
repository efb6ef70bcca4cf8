// How GPUs are divided among the stages that share them: the steps of `moveGpus`.
//
// Invariant: every step leaves the counts within the GPUs that there are, or nearer to it. Stages come in the order of
// their names, so the order of the input makes no difference.
import { fairShares } from './demand.js';
import type {
  GpuDecision,
  GpuDemand,
  GpuMove,
  GpuMovePolicy,
  GpuMoveReason,
  GpuStage,
  GpuStageState,
  GpuState,
} from './gpu-moves.js';
import { inTimePart } from './in-time.js';

/** Parts of GPUs that add up to one may be that much off. */
const ROUNDING = 1e-9;
/** A gain that is smaller is none: the load was measured less exactly than that. */
const LEAST_GAIN = 0.005;

/** A stage, and how many instances it may have as far as is decided. */
interface Seat {
  readonly stage: GpuStage;
  readonly before: GpuStageState | undefined;
  readonly failed: GpuStageState['failed'];
  readonly want: number;
  readonly floor: number;
  /** By count: the part of its tasks that is in time. */
  readonly parts: Map<number, number>;
  fairGpus: number;
  count: number;
  movedMs: number | null;
  /** What it did in this decision: a stage that gave receives nothing, and the other way round. */
  side: 'gave' | 'received' | undefined;
}

interface Taken {
  readonly seat: Seat;
  readonly loss: number;
}

interface Found {
  readonly reason: GpuMoveReason;
  readonly seat: Seat;
  readonly taken: Taken[];
  readonly gain: number;
}

export class Division {
  private readonly seats: Seat[];
  private readonly isShort: boolean;
  private readonly moves: GpuMove[] = [];
  private readonly recent: number[]; // when the moves were that count for the budget
  private readonly blocked: ReadonlySet<string>;

  constructor(
    private readonly demand: GpuDemand,
    private readonly policy: GpuMovePolicy,
    private readonly nowMs: number,
    before: GpuState,
  ) {
    const { stages, gpus, blocked } = demand;
    this.blocked = new Set(blocked);
    this.recent = before.moves.filter((ms) => nowMs - ms < policy.windowMs);
    this.isShort = stages.reduce((sum, { wanted, gpus: each }) => sum + wanted * each, 0) > gpus + ROUNDING;
    const ordered = [...stages].sort((a, b) => (a.stage < b.stage ? -1 : 1));
    this.seats = ordered.map((stage) => this.seatOf(stage, before.stages[stage.stage]));
    const byHand = this.seats.filter(({ stage }) => stage.load === null);
    const byLoad = this.seats.filter(({ stage }) => stage.load !== null);
    const left = Math.max(0, gpus - byHand.reduce((sum, { stage, want }) => sum + want * stage.gpus, 0));
    const users = byLoad.map(({ stage, want }) => ({ wanted: want * stage.gpus, weight: stage.weight }));
    const shares = fairShares(left, users);
    for (const [i, seat] of byLoad.entries()) seat.fairGpus = shares[i]!;
  }

  private seatOf(stage: GpuStage, before: GpuStageState | undefined): Seat {
    const { load, wanted, min, has, refused } = stage;
    const granted = before?.granted ?? null;
    let failed = before?.failed ?? null;
    if (failed !== null && this.nowMs - failed.atMs >= this.policy.windowMs) failed = null;
    if (granted !== null && refused !== null) failed ??= { atMs: this.nowMs, count: refused };
    const want = failed === null ? wanted : Math.min(wanted, Math.max(failed.count, 1));
    const floor = load === null ? want : Math.min(want, Math.max(min, 1));
    const count = Math.min(want, granted ?? has);
    const movedMs = before?.movedMs ?? null;
    return { stage, before, failed, want, floor, count, movedMs, parts: new Map(), fairGpus: 0, side: undefined };
  }

  decide(): GpuDecision {
    if (this.isShort) {
      this.takeWhatIsLost();
      this.raiseToFloors();
      this.giveWhatIsFree();
      this.moveWhatGains();
    }
    return { moves: this.moves, state: this.state() };
  }

  private state(): GpuState {
    const { perWindow } = this.policy;
    const stages = this.seats.flatMap(({ stage, count, movedMs, failed }) => {
      const granted = this.isShort ? count : null;
      if (granted === null && movedMs === null && failed === null) return [];
      return [[stage.stage, { granted, movedMs, failed }] as const];
    });
    return { stages: Object.fromEntries(stages), moves: perWindow === 0 ? [] : this.recent.slice(-perWindow) };
  }

  private get free(): number {
    return this.seats.reduce((left, { stage, count }) => left - count * stage.gpus, this.demand.gpus);
  }

  private inTime({ stage, parts }: Seat, count: number): number {
    const known = parts.get(count);
    if (known !== undefined) return known;
    const part = stage.load === null ? 1 : inTimePart(stage.load, count);
    parts.set(count, part);
    return part;
  }

  /** What a stage loses by its last instance. */
  private lossOf(seat: Seat): number {
    return seat.stage.weight * (this.inTime(seat, seat.count) - this.inTime(seat, seat.count - 1));
  }

  /** What it gains by another one, once that is there. */
  private gainOf(seat: Seat): number {
    const { horizonMs } = this.policy;
    const { weight, loadMs } = seat.stage;
    const more = this.inTime(seat, seat.count + 1) - this.inTime(seat, seat.count);
    return (weight * more * Math.max(0, horizonMs - loadMs)) / horizonMs;
  }

  private takeWhatIsLost(): void {
    while (this.free < -ROUNDING) {
      const above = this.seats.filter(({ count, floor }) => count > floor);
      const best = least(above, (seat) => this.lossOf(seat) / seat.stage.gpus);
      if (best !== undefined) {
        this.record('lost', null, [{ seat: best, loss: this.lossOf(best) }], 0);
        continue;
      }
      // Not even the floors fit: the stage that has the largest part of its own gives.
      const some = this.seats.filter(({ count }) => count > 0);
      const last = least(some, ({ count, floor, stage }) => -count / (Math.max(1, floor) * stage.weight))!;
      this.record('lost', null, [{ seat: last, loss: this.lossOf(last) }], 0);
    }
  }

  private raiseToFloors(): void {
    const stuck = new Set<Seat>();
    for (;;) {
      const below = this.seats.filter((seat) => seat.count < seat.floor && !stuck.has(seat));
      const next = least(below, ({ count, floor, stage }) => count / (floor * stage.weight));
      if (next === undefined) return;
      if (this.isFree(next)) next.count++;
      else {
        const taken = this.giversFor(next, 'least');
        if (taken === undefined) stuck.add(next);
        else {
          this.record('least', next, taken, this.gainOf(next));
          next.count++;
        }
      }
    }
  }

  private giveWhatIsFree(): void {
    for (;;) {
      const able = this.seats.filter((seat) => seat.count < seat.want && this.isFree(seat));
      const most = least(able, (seat) => -this.gainOf(seat) / seat.stage.gpus);
      if (most === undefined) return;
      // Of those that gain equally, the one with the smallest part of what it wants.
      const same = able.filter((seat) => this.gainOf(seat) / seat.stage.gpus === this.gainOf(most) / most.stage.gpus);
      least(same, ({ count, want, stage }) => count / (want * stage.weight))!.count++;
    }
  }

  private moveWhatGains(): void {
    while (this.recent.length < this.policy.perWindow) {
      const best = this.bestGain() ?? this.bestShare();
      if (best === undefined) return;
      this.record(best.reason, best.seat, best.taken, best.gain);
      best.seat.count++;
    }
  }

  // Of those that may receive, the one that gains most beyond what the givers lose.
  private bestGain(): Found | undefined {
    let best: (Found & { readonly net: number }) | undefined;
    for (const seat of this.receivers()) {
      const gain = this.gainOf(seat);
      if (gain / seat.stage.gpus <= (best?.net ?? 0)) continue;
      const taken = this.giversFor(seat, 'gain');
      if (taken === undefined) continue;
      const loss = lossOf(taken);
      const net = (gain - loss) / seat.stage.gpus;
      if (gain * (1 - this.policy.marginShare) <= loss || net <= (best?.net ?? 0)) continue;
      best = { reason: 'gain', seat, taken, gain, net };
    }
    return best;
  }

  // Of those that are late with less than their fair share, the one that has the smallest part of it.
  private bestShare(): Found | undefined {
    const poor = this.receivers().filter((seat) => {
      const { stage, count, fairGpus } = seat;
      return (count + 1) * stage.gpus <= fairGpus + ROUNDING && this.inTime(seat, count) < stage.load!.quantile;
    });
    const partOf = ({ stage, count, fairGpus }: Seat) => (count * stage.gpus) / fairGpus;
    for (const seat of poor.sort((a, b) => partOf(a) - partOf(b))) {
      const taken = this.giversFor(seat, 'share');
      if (taken !== undefined) return { reason: 'share', seat, taken, gain: this.gainOf(seat) };
    }
    return undefined;
  }

  private receivers(): Seat[] {
    return this.seats.filter((seat) => {
      const isOpen = seat.count < seat.want && seat.stage.load !== null && seat.side !== 'gave';
      return isOpen && this.isRested(seat) && this.gainOf(seat) >= LEAST_GAIN;
    });
  }

  private isFree(seat: Seat): boolean {
    return this.free >= seat.stage.gpus - ROUNDING && !this.blocked.has(seat.stage.stage);
  }

  // Since its last move before this decision.
  private isRested({ before }: Seat): boolean {
    const movedMs = before?.movedMs ?? null;
    return movedMs === null || this.nowMs - movedMs >= this.policy.restMs;
  }

  // Those that lose least, until there is room for an instance; undefined: not all of them make room.
  private giversFor(receiver: Seat, reason: GpuMoveReason): Taken[] | undefined {
    let need = receiver.stage.gpus - (this.blocked.has(receiver.stage.stage) ? 0 : Math.max(0, this.free));
    const taken: Taken[] = [];
    const able = this.seats.filter((seat) => {
      if (seat === receiver || this.blocked.has(`${seat.stage.stage}>${receiver.stage.stage}`)) return false;
      return reason === 'least' || (seat.side !== 'received' && this.isRested(seat));
    });
    while (need > ROUNDING) {
      const giver = least(
        able.filter((seat) => seat.count > seat.floor && this.mayGive(seat, reason)),
        (seat) => this.lossOf(seat) / seat.stage.gpus,
      );
      if (giver === undefined) break;
      taken.push({ seat: giver, loss: this.lossOf(giver) });
      giver.count--;
      need -= giver.stage.gpus;
    }
    for (const { seat } of taken) seat.count++;
    return need > ROUNDING ? undefined : withoutSpare(taken, -need);
  }

  private mayGive(seat: Seat, reason: GpuMoveReason): boolean {
    const { stage, count, fairGpus } = seat;
    if (reason === 'least') return true;
    if (reason === 'share') return (count - 1) * stage.gpus >= fairGpus - ROUNDING;
    return this.inTime(seat, count - 1) >= stage.load!.quantile || count * stage.gpus > fairGpus + ROUNDING;
  }

  private record(reason: GpuMoveReason, to: Seat | null, taken: readonly Taken[], gain: number): void {
    const givers = new Map<string, number>();
    for (const { seat } of taken) {
      seat.count--;
      seat.side = 'gave';
      seat.movedMs = this.nowMs;
      givers.set(seat.stage.stage, (givers.get(seat.stage.stage) ?? 0) + 1);
    }
    if (to !== null) {
      to.side = 'received';
      to.movedMs = this.nowMs;
      this.recent.push(this.nowMs);
    }
    const list = [...givers].map(([stage, instances]) => ({ stage, instances }));
    this.moves.push({ reason, to: to?.stage.stage ?? null, givers: list, gain, loss: lossOf(taken) });
  }
}

/** The first of those that have the least. */
function least<T>(list: readonly T[], of: (each: T) => number): T | undefined {
  let best: T | undefined;
  let lowest = Number.POSITIVE_INFINITY;
  for (const each of list) {
    const value = of(each);
    if (best !== undefined && value >= lowest) continue;
    best = each;
    lowest = value;
  }
  return best;
}

const lossOf = (taken: readonly Taken[]): number => taken.reduce((sum, { loss }) => sum + loss, 0);

// A large giver may have made those before it unnecessary. Of one stage the last that was taken costs most: it is the
// first to be spared.
function withoutSpare(taken: readonly Taken[], spareGpus: number): Taken[] {
  let spare = spareGpus;
  const kept: Taken[] = [];
  for (const each of [...taken].reverse()) {
    if (each.seat.stage.gpus <= spare + ROUNDING) spare -= each.seat.stage.gpus;
    else kept.push(each);
  }
  return kept.reverse();
}
