// The load of the chaos on a cluster, and its books.
//
// Invariant: each request that was sent is counted once: answered, lost (an error), wrong, or hung. What came twice is
// counted beside it: a piece that was there already, though nothing said that it begins again.
import type { ClusterPipeline } from '../../src/ts/cluster/index.js';
import type { PieceEvent } from '../../src/ts/pipeline/index.js';
import { until } from '../pipeline/support.js';
import { chaosRequest, PIECES } from './cluster-chaos-workflow.js';

/** So long may nothing end at all, and a request take: a hang is for ever. */
const HANG_MS = 60_000;
const MAX_NOTES = 30;

export class ClusterLoad {
  requests = 0;
  ended = 0;
  lost = 0;
  twice = 0;
  wrong = 0;
  hung = 0;
  readonly problems: string[] = [];
  private readonly open = new Map<number, number>(); // when each was sent
  private readonly notes: string[] = [];
  private next = 0;
  private isStopped = false;
  private readonly over: Promise<unknown>;

  constructor(
    private readonly gateways: () => readonly ClusterPipeline[],
    clients: number,
  ) {
    this.over = Promise.all(Array.from({ length: clients }, () => this.client()));
  }

  /** Whether all has gone well so far. */
  get isSound(): boolean {
    return this.problems.length === 0;
  }

  /** Remembers what was done, for the story of a failure. */
  note(words: string): void {
    this.notes.push(`${words} after ${this.ended}`);
    if (this.notes.length > MAX_NOTES) this.notes.shift();
  }

  /** A request is sent. */
  begin(n: number): void {
    this.open.set(n, performance.now());
  }

  /** It is over. @param counts false: it was never accepted, and is no request */
  end(n: number, counts: boolean): void {
    this.open.delete(n);
    if (!counts) return;
    this.requests++;
    this.ended++;
  }

  private async client(): Promise<void> {
    while (!this.isStopped) {
      const n = this.next++;
      this.begin(n);
      await this.one(n);
      this.end(n, true);
    }
  }

  private async one(n: number): Promise<void> {
    const gateways = this.gateways();
    const { request, result } = chaosRequest(n);
    let next = 0;
    const onPiece = (event: PieceEvent) => {
      if (event.type === 'restarted') next = 0;
      else if (event.number < next) this.problem('twice', `${n}: piece ${event.number} came again`);
      else if (event.number > next || event.meta.n !== n)
        this.problem('wrong', `${n}: piece ${event.number} for ${next}`);
      else next++;
    };
    let answers = 0;
    try {
      const { outputs } = await gateways[n % gateways.length]!.run(request, { onPiece });
      answers += outputs.length;
      const found = JSON.stringify(outputs.map(({ meta }) => meta));
      if (answers > 1) this.problem('twice', `${n}: ${answers} answers`);
      else if (found !== JSON.stringify([result])) this.problem('wrong', `${n}: ${found}`);
      else if (next !== PIECES) this.problem('wrong', `${n}: ${next} pieces of ${PIECES}`);
    } catch (error) {
      if (this.isAbandoned) return;
      this.problem('lost', `${n}: ${String((error as { code?: string }).code)} ${String(error)}`);
    }
  }

  private isAbandoned = false;

  /** Something is wrong with a request. */
  problem(kind: 'lost' | 'twice' | 'wrong' | 'hung', words: string): void {
    this[kind]++;
    if (this.problems.length === 0) this.problems.push(`before the first problem: ${this.notes.join(', ')}`);
    if (this.problems.length < 20) this.problems.push(`${kind}: request ${words}`);
  }

  /**
   * Waits until so many more have ended. They hang when none has ended for HANG_MS, however busy the machine is; and
   * one hangs alone that is open for twice as long.
   */
  async more(count: number): Promise<void> {
    const target = this.ended + count;
    while (this.isSound && this.ended < target) {
      const before = this.ended;
      const isBetter = () => !this.isSound || this.ended > before;
      await until('one more request', isBetter, HANG_MS).catch(() => this.hangs());
      const oldestMs = performance.now() - Math.min(...this.open.values());
      if (this.isSound && oldestMs > 2 * HANG_MS) this.hangs();
    }
  }

  /** Something beside the requests has failed. */
  failed(words: string): void {
    this.problem('wrong', words);
  }

  /** The numbers of the requests that are under way. */
  get openNumbers(): number[] {
    return [...this.open.keys()];
  }

  /** What the gateways say, for people. */
  state(): string {
    return this.gateways().map(ClusterLoad.stateOf).join(' ');
  }

  static stateOf(gateway: ClusterPipeline): string {
    const { number, plan, olderPlans, places, unplaced, gateway: own } = gateway.status();
    const bad = Object.entries(places).filter(([, { state }]) => state !== 'ready');
    const links = own.links.map(({ target, backlog, unacknowledged }) => [target, backlog, unacknowledged].join(' '));
    return JSON.stringify({ number, plan, olderPlans, bad, unplaced, load: gateway.load, links });
  }

  /** Requests that are open after all that time. */
  hangs(): void {
    const state = this.state();
    for (const n of this.open.keys()) {
      this.problem('hung', `${n}${this.hung === 0 ? `; ${state}` : ''}`);
      this.requests++;
    }
  }

  /** Sends no more, and waits for those under way. */
  async stop(): Promise<void> {
    this.isStopped = true;
    await until('the last requests', () => this.open.size === 0 || this.hung > 0, HANG_MS).catch(() => this.hangs());
    if (this.hung === 0) await this.over;
  }

  /** Sends no more; what becomes of those under way is of no interest. */
  abandon(): void {
    this.isStopped = true;
    this.isAbandoned = true;
  }
}
