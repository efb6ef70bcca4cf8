// Who decides what is not determined: which event comes next, how long it takes, where a copy is torn, who dies when.
//
// Invariant: a run of a simulation depends on nothing but the answers that are given here, so the same seed, or the
// same list of answers, gives the same run to the last byte.

/** What a decision is about. Enumeration bounds how often each kind departs from the ordinary course. */
export type ChoiceKind = 'order' | 'tear' | 'fault';

/** The source of every decision of one run. */
export interface Choices {
  /** True when answers are enumerated, one after the other, and times have no meaning of their own. */
  readonly exhaustive: boolean;
  /** A whole number from 0 to `count` - 1; 0 is the ordinary course. */
  pick(count: number, kind: ChoiceKind): number;
  /** True with this probability; enumerated, both. */
  chance(probability: number, kind: ChoiceKind): boolean;
  /**
   * A time in ms from `low` to below `high`, mostly near `low`; enumerated, 0: anything under way may come at any time.
   */
  delay(low: number, high: number): number;
  /** How the run can be repeated, in words for a command line. */
  readonly replay: string;
}

// The finalizer of MurmurHash3: neighbouring numbers become unlike each other.
function mix(x: number): number {
  let y = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  y = Math.imul(y ^ (y >>> 13), 0xc2b2ae35);
  return (y ^ (y >>> 16)) >>> 0;
}

/** Decisions from a seed (xorshift128, Marsaglia 2003). */
export class SeededChoices implements Choices {
  readonly exhaustive = false;
  readonly seed: number;
  private x: number;
  private y: number;
  private z: number;
  private w: number;

  /**
   * @param seed 0 to 2^53 - 1; neighbouring seeds have nothing in common
   * @param stream another number gives other decisions for the same seed
   */
  constructor(seed: number, stream = 0) {
    this.seed = seed;
    this.x = mix((seed >>> 0) ^ 0x9e3779b9);
    this.y = mix(this.x + Math.floor(seed / 2 ** 32));
    this.z = mix(this.y + stream);
    this.w = mix(this.z ^ 0x85ebca6b) | 1; // never all 0
  }

  get replay(): string {
    return `--seed ${this.seed}`;
  }

  /** The next 32 bits. */
  word(): number {
    const t = this.x ^ (this.x << 11);
    this.x = this.y;
    this.y = this.z;
    this.z = this.w;
    this.w = (this.w ^ (this.w >>> 19) ^ t ^ (t >>> 8)) >>> 0;
    return this.w;
  }

  /** From 0 to below 1. */
  fraction(): number {
    return this.word() / 2 ** 32;
  }

  pick(count: number): number {
    return count <= 1 ? 0 : Math.floor(this.fraction() * count);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  delay(low: number, high: number): number {
    // The cube: most are short, and now and then one is long enough to come after everything else.
    const share = this.fraction();
    return low + (high - low) * share * share * share;
  }
}

/** How many departures from the ordinary course one run may have, by kind. */
export type ChoiceLimits = Readonly<Record<ChoiceKind, number>>;

/**
 * Every list of answers within limits, one run after the other, depth first.
 *
 * Delay-bounded exploration (Emmi, Qadeer and Rakamaric, POPL 2011): complete for all runs that depart from the
 * ordinary course at most so many times.
 */
export class EnumeratedChoices implements Choices {
  readonly exhaustive = true;
  private readonly limits: ChoiceLimits;
  private answers: number[] = [];
  private counts: number[] = [];
  private kinds: ChoiceKind[] = [];
  private used = { order: 0, tear: 0, fault: 0 };
  private at = 0;

  /** @param limits departures allowed */
  constructor(limits: ChoiceLimits) {
    this.limits = limits;
  }

  get replay(): string {
    const departures = this.answers.slice(0, this.at).flatMap((answer, i) => (answer > 0 ? [`${i}:${answer}`] : []));
    return `--choices ${departures.join(',') || 'none'}`;
  }

  pick(count: number, kind: ChoiceKind): number {
    // A choice that may not depart is none: it is not recorded.
    if (count <= 1 || this.used[kind] >= this.limits[kind]) return 0;
    if (this.at === this.answers.length) {
      this.answers.push(0);
      this.counts.push(count);
      this.kinds.push(kind);
    } else if (this.counts[this.at] !== count || this.kinds[this.at] !== kind) {
      throw new Error(`the run is not determined by its choices: choice ${this.at} was one of another kind before`);
    }
    const answer = this.answers[this.at++]!;
    if (answer > 0) this.used[kind]++;
    return answer;
  }

  chance(_probability: number, kind: ChoiceKind): boolean {
    return this.pick(2, kind) === 1;
  }

  delay(): number {
    return 0;
  }

  /** Goes on to the next run; false when all were seen. */
  next(): boolean {
    this.answers.length = this.at;
    this.counts.length = this.at;
    this.kinds.length = this.at;
    while (this.answers.length > 0) {
      const answer = this.answers.pop()!;
      const count = this.counts.pop()!;
      const kind = this.kinds.pop()!;
      if (answer + 1 < count) {
        this.answers.push(answer + 1);
        this.counts.push(count);
        this.kinds.push(kind);
        this.restart();
        return true;
      }
    }
    return false;
  }

  private restart(): void {
    this.at = 0;
    this.used = { order: 0, tear: 0, fault: 0 };
  }
}

/** A list of answers that was printed before: `17:1,30:2` are the places where a run departed, and how. */
export class ListedChoices implements Choices {
  readonly exhaustive = true;
  readonly replay: string;
  private readonly departures = new Map<number, number>();
  private readonly limits: ChoiceLimits;
  private readonly used = { order: 0, tear: 0, fault: 0 };
  private at = 0;

  /**
   * @param text as `replay` of {@link EnumeratedChoices} has printed it behind `--choices`
   * @param limits of the enumeration it comes from: they decide what counts as a choice
   */
  constructor(text: string, limits: ChoiceLimits) {
    this.replay = `--choices ${text}`;
    this.limits = limits;
    for (const item of text === 'none' ? [] : text.split(',')) {
      const match = /^(\d{1,9}):(\d{1,9})$/.exec(item);
      if (match === null) throw new RangeError(`a list of choices is written like 17:1,30:2, not ${text}`);
      this.departures.set(Number(match[1]), Number(match[2]));
    }
  }

  pick(count: number, kind: ChoiceKind): number {
    if (count <= 1 || this.used[kind] >= this.limits[kind]) return 0;
    const answer = this.departures.get(this.at++) ?? 0;
    if (answer > 0) this.used[kind]++;
    return Math.min(answer, count - 1);
  }

  chance(_probability: number, kind: ChoiceKind): boolean {
    return this.pick(2, kind) === 1;
  }

  delay(): number {
    return 0;
  }
}
