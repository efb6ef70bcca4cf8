// Capacity that is kept for refused callers that got a time to come back.
//
// A rejected caller gets a time and a token. A newcomer is judged as if the callers whose times come before it would be
// done were already waiting, scaled by how many usually come back; so a caller that comes in time finds room.
// Reservations get at most a share of the capacity, and their times are as far apart as that share can serve them.
//
// Invariant: times ascend in the order of the reservations. An unclaimed reservation costs only its share of a
// newcomer's window, and that share shrinks when fewer callers come back.

/** What reservations may take of the time of newcomers, and of the stages. */
const SHARE = 0.5;
/** Before anybody has come back or stayed away. */
const FIRST_KEPT = 0.5;
const NEWEST = 0.05;
/** The most that are kept; callers after that get a time without a reservation. */
const MAX_RESERVATIONS = 65_536;
/** How much later than told a caller may come: this, and a quarter of the time that it waited. */
const GRACE_US = 100_000;

interface Reservation {
  readonly token: string;
  readonly fromUs: number;
  readonly dueUs: number;
  readonly untilUs: number;
  /** Of what all reservations before it cost, and it. */
  readonly sumUs: number;
  claimed: boolean;
}

export class Reservations {
  private readonly prefix: string;
  private list: Reservation[] = []; // by due time
  private readonly byToken = new Map<string, Reservation>();
  private sumUs = 0;
  private passedUs = 0; // sumUs of the last one that has passed
  private nextUs = 0;
  private lastNumber = 0;
  private kept = FIRST_KEPT;

  /** @param prefix of all tokens: tells this process from others */
  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /**
   * Tells a caller when to come back.
   *
   * @param fitsUs when it would find room if nobody else came
   * @param costUs for how long it occupies the stage that limits it
   * @returns when, and a token unless there are too many reservations
   */
  make(nowUs: number, fitsUs: number, costUs: number): { dueUs: number; token: string | undefined } {
    this.expire(nowUs);
    const dueUs = Math.max(nowUs + fitsUs, this.nextUs);
    this.nextUs = dueUs + (costUs * this.kept) / SHARE;
    if (this.list.length >= MAX_RESERVATIONS) return { dueUs, token: undefined };
    const token = `${this.prefix}-${++this.lastNumber}`;
    this.sumUs += costUs;
    const untilUs = dueUs + GRACE_US + (dueUs - nowUs) / 4;
    // A caller's clock may be a little ahead of ours.
    const fromUs = dueUs - Math.max(2000, (dueUs - nowUs) / 50);
    const reservation = { token, fromUs, dueUs, untilUs, sumUs: this.sumUs, claimed: false };
    this.list.push(reservation);
    this.byToken.set(token, reservation);
    return { dueUs, token };
  }

  /** A caller has come back. @returns true when it did so in time, for the first time */
  claim(token: string, nowUs: number): boolean {
    this.expire(nowUs);
    const reservation = this.byToken.get(token);
    if (reservation === undefined || nowUs < reservation.fromUs) return false;
    this.byToken.delete(token);
    reservation.claimed = true;
    this.kept += NEWEST * (1 - this.kept);
    return true;
  }

  /**
   * What a newcomer has to leave free.
   *
   * @param windowUs how much time the newcomer has
   * @returns microseconds, at most a share of the window
   */
  aheadUs(nowUs: number, windowUs: number): number {
    this.expire(nowUs);
    const { list } = this;
    if (list.length === 0) return 0;
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list[middle]!.dueUs <= nowUs + windowUs) low = middle + 1;
      else high = middle;
    }
    const sumUs = low === 0 ? 0 : list[low - 1]!.sumUs - this.passedUs;
    return Math.min(SHARE * windowUs, this.kept * sumUs);
  }

  private expire(nowUs: number): void {
    const { list } = this;
    let passed = 0;
    // Those that were claimed are no matter any more, wherever they stand behind.
    while (passed < list.length && (list[passed]!.claimed || list[passed]!.untilUs < nowUs)) {
      const { token, claimed, sumUs } = list[passed++]!;
      this.passedUs = sumUs;
      if (claimed) continue;
      this.byToken.delete(token);
      this.kept -= NEWEST * this.kept;
    }
    if (passed > 0) this.list = list.slice(passed);
  }

  /** For operators: how many are kept, and which share of callers comes back. */
  status(): { readonly count: number; readonly keptShare: number } {
    return { count: this.byToken.size, keptShare: this.kept };
  }
}
