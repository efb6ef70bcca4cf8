// A cluster as reconcile sees it, for its tests: what is there, and what may happen to it. Not a test.
//
// Invariant: nodes and gateways do only what real ones may: a report is of the epoch that was assigned, a gateway
// adopts a plan that names it and lets go of the oldest of several.
import fc from 'fast-check';
import type { App, PlaceReport, PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { type KnownCluster, type LiveGateway, type LiveNode, reconcile } from '../../src/ts/cluster/reconcile.js';
import { checkSpec, placeName, type Plan, stagePlaces } from '../../src/ts/pipeline/index.js';

export type Happening =
  | { readonly type: 'node' | 'restart' | 'kill' | 'drain' | 'away' | 'back'; readonly node: number }
  | { readonly type: 'join' | 'die' | 'adopt' | 'letGo'; readonly gateway: number }
  | { readonly type: 'scale'; readonly stage: number; readonly count: number }
  | { readonly type: 'report'; readonly place: number; readonly state: 'ready' | 'broken' };

const NODES = 4;
const GATEWAYS = 3;
const node = fc.nat(NODES - 1);
const gateway = fc.nat(GATEWAYS - 1);

export const happenings: fc.Arbitrary<Happening[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ type: fc.constantFrom('node' as const, 'restart' as const), node }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('kill' as const, 'drain' as const), node }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('away' as const, 'back' as const), node }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('join' as const, 'die' as const), gateway }) },
    { weight: 8, arbitrary: fc.record({ type: fc.constantFrom('adopt' as const, 'letGo' as const), gateway }) },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant('scale' as const),
        stage: fc.nat(1),
        count: fc.integer({ min: 0, max: 4 }),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        type: fc.constant('report' as const),
        place: fc.nat(9),
        state: fc.constantFrom('ready' as const, 'ready' as const, 'ready' as const, 'broken' as const),
      }),
    },
  ),
  { minLength: 5, maxLength: 60 },
);

export const SPEC = checkSpec({
  name: 'clip',
  stages: [
    { name: 'a', instances: 2 },
    { name: 'b', after: ['a'] },
  ],
});
/** The same, of which `b` may sleep. */
export const SLEEPY = checkSpec({
  ...SPEC,
  stages: SPEC.stages.map((stage) => (stage.name === 'b' ? { ...stage, scale: { min: 0, sloMs: 1000 } } : stage)),
});

export class ReconcileWorld {
  readonly nodes = new Map<string, LiveNode>();
  readonly gateways = new Map<number, readonly number[]>();
  wanted: Readonly<Record<string, number>> = { a: 2, b: 1 };
  record: PlanRecord | undefined;
  private reported = new Map<string, PlaceReport>();
  /** Nodes that were taken for lost, and whose agents run on. */
  private readonly away = new Map<string, LiveNode>();
  private run = 0;

  constructor() {
    for (let i = 0; i < 2; i++) this.happen({ type: 'node', node: i });
    this.happen({ type: 'join', gateway: 0 });
  }

  get app(): App {
    const { wanted } = this;
    return { name: 'clip', module: '/clip.js', hash: 'a'.repeat(64), spec: SLEEPY, sizes: {} as never, wanted };
  }

  get liveGateways(): LiveGateway[] {
    return [...this.gateways].map(([number, plans]) => ({ number, plans }));
  }

  known(record: PlanRecord | undefined = this.record): KnownCluster {
    const reports: Record<string, PlaceReport> = {};
    for (const [place, { epoch }] of Object.entries(record?.assignments ?? {})) {
      const report = this.reported.get(place);
      if (report?.epoch === epoch) reports[place] = report;
    }
    const seen = { plan: 0, epochs: {} };
    const app = { app: this.app, record, gateways: this.liveGateways, reports, seen };
    return { apps: [app], nodes: [...this.nodes.values()] };
  }

  /** Decides, and goes on with the answer. */
  follow(): PlanRecord {
    this.record = this.decide();
    return this.record!;
  }

  /** What is decided now; the record that is there when nothing is. */
  decide(record: PlanRecord | undefined = this.record): PlanRecord | undefined {
    return reconcile(this.known(record)).get('clip') ?? record;
  }

  /** A gateway adopts the newest plan, and lets go of the oldest that it has. */
  goOn(gateway: number): void {
    for (const type of ['adopt', 'letGo'] as const) this.happen({ type, gateway });
  }

  /** The process of a place does not work. */
  breakPlace(name: string): void {
    const place = Object.keys(this.record!.assignments).indexOf(name);
    this.happen({ type: 'report', place, state: 'broken' });
  }

  isAlive({ node: name, run }: { node: string; run: string }): boolean {
    return this.nodes.get(name)?.run === run;
  }

  happen(happening: Happening): void {
    const { nodes, gateways, record } = this;
    if ('node' in happening) {
      const name = `node-${happening.node}`;
      const known = nodes.get(name);
      if (happening.type === 'kill') nodes.delete(name);
      else if (happening.type === 'away') {
        if (nodes.delete(name)) this.away.set(name, known!);
      } else if (happening.type === 'back') {
        const was = this.away.get(name);
        if (known === undefined && was !== undefined) nodes.set(name, was);
      } else if (happening.type === 'drain') {
        if (known !== undefined) nodes.set(name, { ...known, draining: known.draining !== true });
      } else if (happening.type === 'restart' || known === undefined)
        nodes.set(name, { name, host: name, cores: 16, memoryBytes: 2 ** 33, run: `run-${++this.run}` });
    } else if ('gateway' in happening) {
      const { gateway: number } = happening;
      const plans = gateways.get(number);
      if (happening.type === 'join') gateways.set(number, plans ?? []);
      else if (happening.type === 'die') gateways.delete(number);
      else if (plans !== undefined) gateways.set(number, this.withPlans(happening.type, number, plans));
    } else if (happening.type === 'scale') {
      // Only `b` may sleep.
      const count = happening.stage === 0 ? Math.max(1, happening.count) : happening.count;
      this.wanted = { ...this.wanted, ['ab'[happening.stage]!]: count };
    } else if (record !== undefined) {
      const places = Object.entries(record.assignments);
      if (places.length === 0) return;
      const [place, { epoch }] = places[happening.place % places.length]!;
      this.reported.set(place, reportOf(epoch, happening.state));
    }
  }

  private withPlans(type: 'adopt' | 'letGo', number: number, plans: readonly number[]): readonly number[] {
    if (type === 'letGo') return plans.length > 1 ? plans.slice(1) : plans;
    const plan = this.record?.plan;
    const isNew = plan?.gateways.includes(number) === true && !plans.includes(plan.number);
    return isNew ? [...plans, plan.number] : plans;
  }
}

export function reportOf(epoch: number, state: 'ready' | 'broken'): PlaceReport {
  const reason = state === 'broken' ? 'it ends at once' : null;
  return { epoch, state, plans: [], address: null, reason, readyInMs: null, pid: null, restarts: 0, vias: {} };
}

export const namesOf = (plan: Plan): string[] => stagePlaces(plan).map((id) => placeName(SLEEPY, id));
export const plansOf = ({ plan, olderPlans }: PlanRecord): Plan[] => [...olderPlans, ...(plan === null ? [] : [plan])];
