// Proves how GPUs are divided where there are too few: never more than there are, nobody below its least, a move only
// for a gain, within rest, margin, budget and fair shares, and no way back under one load.
import fc from 'fast-check';
import t from 'tap';
import {
  allowedOf,
  checkGpuMoves,
  decideGpus,
  DEFAULT_GPU_MOVES,
  type GpuDecision,
  type GpuDemand,
  type GpuMovePolicy,
  type GpuStage,
  type GpuState,
  inTimePart,
  moveGpus,
  NO_GPU_STATE,
  replayGpus,
} from '../../src/ts/planner/index.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const policy = DEFAULT_GPU_MOVES;
const SECOND = 1000;

/** A stage whose tasks take a second; `rate` is instances' worth of work. */
function stage(name: string, rate: number, more: Partial<GpuStage> = {}): GpuStage {
  const load = { rate: rate / SECOND, serviceMs: SECOND, slots: 1, sloMs: 5 * SECOND, quantile: 0.95 };
  const wanted = Math.max(1, Math.ceil(rate * 1.2));
  return { stage: name, has: 1, wanted, min: 1, gpus: 1, weight: 1, loadMs: 10_000, load, refused: null, ...more };
}

const demandOf = (gpus: number, stages: readonly GpuStage[], blocked: readonly string[] = []): GpuDemand => {
  return { gpus, stages, blocked };
};

function counts({ state }: GpuDecision): Record<string, number | null> {
  return Object.fromEntries(Object.entries(state.stages).map(([name, { granted }]) => [name, granted]));
}

/** The state in which these have so many, and have not moved. */
function given(granted: Readonly<Record<string, number>>): GpuState {
  const stages = Object.entries(granted).map(([name, n]) => [name, { granted: n, movedMs: null, failed: null }]);
  return { stages: Object.fromEntries(stages), moves: [] };
}

void t.test('the part in time grows with instances, from none to all', (t) => {
  const load = { rate: 0.004, serviceMs: 1000, slots: 1, sloMs: 3000, quantile: 0.99 };
  const parts = Array.from({ length: 9 }, (_, n) => inTimePart(load, n));
  t.equal(parts[0], 0);
  for (let n = 1; n < parts.length; n++) t.ok(parts[n]! > parts[n - 1]!, `${n} instances: ${parts[n]}`);
  t.ok(parts[1]! > 0.1 && parts[1]! < 0.25, 'one of four: nearly a quarter, as the rest is refused');
  t.ok(parts[8]! > 0.99);
  t.equal(inTimePart({ ...load, rate: 0 }, 0), 1, 'nothing comes');
  t.equal(inTimePart({ ...load, serviceMs: 0 }, 1), 1, 'nobody knows what a task costs');
  t.end();
});

void t.test('where there are enough, nothing is limited', (t) => {
  const decision = moveGpus(demandOf(4, [stage('a/x', 1), stage('b/x', 1)]), policy, 0, given({ 'a/x': 1, 'b/x': 2 }));
  t.strictSame(decision, { moves: [], state: { stages: {}, moves: [] } });
  t.equal(allowedOf(7, 1, null), 7);
  t.equal(allowedOf(7, 2, 1), 2, 'placement says why the least does not fit');
  t.equal(allowedOf(0, 2, 1), 0);
  t.end();
});

void t.test('a GPU goes where more tasks are in time for it', (t) => {
  const demand = demandOf(4, [stage('a/x', 0.3, { wanted: 3 }), stage('b/x', 3)]);
  const decision = moveGpus(demand, policy, 5000, given({ 'a/x': 3, 'b/x': 1 }));
  t.strictSame(counts(decision), { 'a/x': 1, 'b/x': 3 });
  t.match(decision.moves, [
    { reason: 'gain', to: 'b/x', givers: [{ stage: 'a/x', instances: 1 }] },
    { reason: 'gain', to: 'b/x', givers: [{ stage: 'a/x', instances: 1 }] },
  ]);
  for (const { gain, loss } of decision.moves) t.ok(gain > 0.2 && loss < 0.05, `${gain} for ${loss}`);
  t.equal(decision.state.stages['a/x']!.movedMs, 5000);
  t.strictSame(decision.state.moves, [5000, 5000]);
  const event = decideGpus(demand, policy, 5000, given({ 'a/x': 3, 'b/x': 1 }));
  t.match(replayGpus(JSON.parse(JSON.stringify(event))), { isSame: true, decision });
  t.equal(replayGpus({ ...event, demand: { ...demand, gpus: 3 } }).isSame, false);
  t.end();
});

void t.test('it stays where the gain is small beside the loss', (t) => {
  const equal = [stage('a/x', 3), stage('b/x', 3)];
  const before = given({ 'a/x': 2, 'b/x': 2 });
  t.strictSame(moveGpus(demandOf(4, equal), policy, 0, before).moves, []);
  const alike = [stage('a/x', 3), stage('b/x', 3.2)];
  t.strictSame(moveGpus(demandOf(3, alike), policy, 0, given({ 'a/x': 2, 'b/x': 1 })).moves, [], 'within the margin');
  const slow = [stage('a/x', 0.3, { wanted: 3 }), stage('b/x', 3, { loadMs: policy.horizonMs })];
  t.strictSame(moveGpus(demandOf(4, slow), policy, 0, given({ 'a/x': 3, 'b/x': 1 })).moves, [], 'it loads too long');
  t.end();
});

void t.test('who would break its own SLO gives only what is above its fair share', (t) => {
  // Both are overloaded; b by far less, so each GPU is worth more to it.
  const stages = [stage('a/x', 12), stage('b/x', 3)];
  const some = moveGpus(demandOf(6, stages), policy, 0, given({ 'a/x': 5, 'b/x': 1 }));
  t.strictSame(counts(some), { 'a/x': 3, 'b/x': 3 }, 'down to the half that is its share');
  const light = stages.map((each) => (each.stage === 'a/x' ? { ...each, weight: 0.2 } : each));
  t.strictSame(counts(moveGpus(demandOf(6, light), policy, 0, given({ 'a/x': 5, 'b/x': 1 }))), { 'a/x': 2, 'b/x': 4 });
  t.end();
});

void t.test('who is late with less than its fair share gets it, also where nothing is gained', (t) => {
  const equal = [stage('a/x', 4), stage('b/x', 4)];
  const decision = moveGpus(demandOf(4, equal), policy, 0, given({ 'a/x': 3, 'b/x': 1 }));
  t.strictSame(counts(decision), { 'a/x': 2, 'b/x': 2 });
  t.match(decision.moves, [{ reason: 'share', to: 'b/x', givers: [{ stage: 'a/x', instances: 1 }] }]);
  t.strictSame(
    moveGpus(demandOf(3, equal), policy, 0, given({ 'a/x': 2, 'b/x': 1 })).moves,
    [],
    'to and fro is no use',
  );
  const well = [stage('a/x', 4), stage('b/x', 0.3, { wanted: 4 })];
  t.strictSame(moveGpus(demandOf(4, well), policy, 0, given({ 'a/x': 3, 'b/x': 1 })).moves, [], 'it is in time');
  t.end();
});

void t.test('who has moved rests, and only so many move in a window', (t) => {
  const demand = demandOf(8, [stage('a/x', 0.3, { wanted: 7 }), stage('b/x', 6)]);
  const tight: GpuMovePolicy = { ...policy, perWindow: 2, windowMs: 300_000, restMs: 60_000 };
  const first = moveGpus(demand, tight, 0, given({ 'a/x': 7, 'b/x': 1 }));
  t.strictSame(counts(first), { 'a/x': 5, 'b/x': 3 });
  t.strictSame(moveGpus(demand, tight, 299_999, first.state).moves, [], 'the budget is used up');
  const second = moveGpus(demand, tight, 300_000, first.state);
  t.strictSame(counts(second), { 'a/x': 3, 'b/x': 5 });
  const free: GpuMovePolicy = { ...tight, perWindow: 1, windowMs: 1000 };
  const one = moveGpus(demand, free, 0, given({ 'a/x': 7, 'b/x': 1 }));
  t.strictSame(moveGpus(demand, free, 59_999, one.state).moves, [], 'they rest');
  t.equal(moveGpus(demand, free, 60_000, one.state).moves.length, 1);
  t.strictSame(moveGpus(demand, { ...free, perWindow: 0 }, 0, given({ 'a/x': 7, 'b/x': 1 })).moves, []);
  t.end();
});

void t.test('a stage below its least takes at once what it needs; what is counted by hand goes first', (t) => {
  const tired = { ...given({ 'a/x': 4, 'b/x': 0 }), moves: Array.from({ length: 8 }, () => 0) };
  const wakes = [stage('a/x', 9), stage('b/x', 0, { has: 0 })];
  const woken = moveGpus(demandOf(4, wakes), policy, 1, tired);
  t.strictSame(counts(woken), { 'a/x': 3, 'b/x': 1 });
  t.match(woken.moves, [{ reason: 'least', to: 'b/x', givers: [{ stage: 'a/x', instances: 1 }] }]);
  const hand = [stage('a/x', 9, { min: 2 }), stage('b/x', 0, { load: null, wanted: 5, has: 1 })];
  t.strictSame(counts(moveGpus(demandOf(4, hand), policy, 0, given({ 'a/x': 3 }))), { 'a/x': 2, 'b/x': 2 });
  t.end();
});

void t.test('when GPUs are lost, those give that lose least; what is free goes where it helps most', (t) => {
  const stages = [stage('a/x', 1.5), stage('b/x', 4, { wanted: 6 })];
  const fewer = moveGpus(demandOf(4, stages), policy, 0, given({ 'a/x': 2, 'b/x': 4 }));
  t.match(fewer.moves, [{ reason: 'lost', to: null }, { reason: 'lost' }]);
  t.strictSame(fewer.state.moves, [], 'nobody has chosen that: it is not in the budget');
  const more = moveGpus(demandOf(5, stages), policy, 1, fewer.state);
  t.strictSame(more.moves, []);
  const sum = Object.values(counts(more)).reduce<number>((all, n) => all + n!, 0);
  t.equal(sum, 5);
  t.end();
});

void t.test('an instance of several GPUs takes from several; what does not fit is left alone', (t) => {
  const small = ['a/x', 'b/x', 'c/x'].map((name) => stage(name, 0.1, { wanted: 3 }));
  const stages = [...small, stage('d/x', 1.6, { gpus: 3, wanted: 2 })];
  const before = given({ 'a/x': 2, 'b/x': 2, 'c/x': 2, 'd/x': 1 });
  const decision = moveGpus(demandOf(9, stages), policy, 0, before);
  t.strictSame(counts(decision), { 'a/x': 1, 'b/x': 1, 'c/x': 1, 'd/x': 2 });
  t.equal(decision.moves[0]!.givers.length, 3);
  const blocked = ['a/x>d/x', 'b/x>d/x', 'c/x>d/x'];
  t.strictSame(moveGpus(demandOf(9, stages, blocked), policy, 0, before).moves, []);
  const free = moveGpus(demandOf(12, stages, [...blocked, 'd/x']), policy, 0, before);
  t.equal(counts(free)['d/x'], 1, 'GPUs are free, and none where it could be');
  // A large giver frees what small ones were taken for before it.
  const big = [stage('a/x', 0, { wanted: 3 }), stage('b/x', 0.2, { gpus: 3, wanted: 3 })];
  const large = [...big, stage('d/x', 3, { gpus: 3, wanted: 4 })];
  const spared = moveGpus(demandOf(11, large), { ...policy, perWindow: 1 }, 0, given({ 'a/x': 2, 'b/x': 2, 'd/x': 1 }));
  t.strictSame(spared.moves[0]!.givers, [{ stage: 'b/x', instances: 1 }]);
  t.end();
});

void t.test('a stage whose new instance does not work gets no other one for a window', (t) => {
  const before = given({ 'a/x': 2, 'b/x': 2 });
  const idle = stage('a/x', 0.3, { wanted: 4 });
  const broken = demandOf(4, [idle, stage('b/x', 3, { refused: 1 })]);
  const back = moveGpus(broken, policy, 1000, before);
  t.strictSame(counts(back), { 'a/x': 3, 'b/x': 1 }, 'what it cannot use is free');
  const well = demandOf(4, [idle, stage('b/x', 3)]);
  t.strictSame(counts(moveGpus(well, policy, 600_999, back.state)), { 'a/x': 3, 'b/x': 1 });
  t.strictSame(counts(moveGpus(well, policy, 601_000, back.state)), { 'a/x': 1, 'b/x': 3 });
  t.end();
});

void t.test('what makes no sense is refused by name', (t) => {
  const bad: [Partial<GpuMovePolicy>, RegExp][] = [
    [{ perWindow: -1 }, /perWindow/],
    [{ windowMs: Number.NaN }, /windowMs/],
    [{ marginShare: 1 }, /marginShare/],
    [{ restMs: -1 }, /restMs/],
    [{ horizonMs: 0 }, /horizonMs/],
  ];
  for (const [each, message] of bad) t.throws(() => checkGpuMoves({ ...policy, ...each }), { ...INVALID, message });
  const stages: [Partial<GpuStage>, RegExp][] = [
    [{ gpus: 0 }, /gpus of a/],
    [{ weight: Number.NaN }, /weight of a/],
    [{ has: -1 }, /has of a/],
    [{ refused: 0.5 }, /refused of a/],
    [{ loadMs: Number.POSITIVE_INFINITY }, /loadMs of a/],
    [{ load: { ...stage('a', 1).load!, rate: -1 } }, /rate of a/],
    [{ load: { ...stage('a', 1).load!, quantile: 1 } }, /quantile of a/],
  ];
  for (const [each, message] of stages) {
    t.throws(() => moveGpus(demandOf(1, [stage('a', 1, each)]), policy, 0), { ...INVALID, message });
  }
  t.throws(() => moveGpus(demandOf(1, [stage('a', 1), stage('a', 1)]), policy, 0), INVALID);
  t.throws(() => moveGpus(demandOf(1, []), policy, Number.NaN), INVALID);
  t.throws(() => moveGpus(demandOf(Number.NaN, []), policy, 0), INVALID);
  t.throws(() => replayGpus({ type: 'gpus' } as never), INVALID);
  t.end();
});

const seeds = process.env.FC_SEED === undefined ? {} : { seed: Number(process.env.FC_SEED) };

const anyStage = (name: string): fc.Arbitrary<GpuStage> =>
  fc
    .record({
      rate: fc.double({ min: 0, max: 12, noNaN: true }),
      wanted: fc.integer({ min: 0, max: 8 }),
      min: fc.integer({ min: 0, max: 2 }),
      has: fc.integer({ min: 0, max: 4 }),
      gpus: fc.constantFrom(0.5, 1, 1, 1, 2),
      weight: fc.constantFrom(0.5, 1, 1, 3),
      loadMs: fc.constantFrom(0, 10_000, 300_000),
      byHand: fc.boolean().filter((isByHand) => !isByHand || name === 's0/x'),
      refused: fc.constantFrom(null, null, null, null, 1),
    })
    .map(({ rate, byHand, ...more }) => {
      const made = stage(name, rate, more);
      return byHand ? { ...made, load: null } : made;
    });

const anyDemand: fc.Arbitrary<GpuDemand> = fc
  .record({ gpus: fc.integer({ min: 0, max: 16 }), size: fc.integer({ min: 1, max: 5 }) })
  .chain(({ gpus, size }) =>
    fc
      .tuple(...Array.from({ length: size }, (_, i) => anyStage(`s${i}/x`)))
      .map((stages) => demandOf(gpus, stages as GpuStage[])),
  );

const floorOf = ({ load, wanted, min }: GpuStage) => (load === null ? wanted : Math.min(wanted, Math.max(min, 1)));

void t.test('whatever is wanted: within what there is, nobody below its least, the budget kept, and so again', (t) => {
  const histories = fc.array(fc.record({ demand: anyDemand, ms: fc.integer({ min: 0, max: 200_000 }) }), {
    minLength: 1,
    maxLength: 20,
  });
  fc.assert(
    fc.property(histories, (history) => {
      let state = NO_GPU_STATE;
      let nowMs = 0;
      const gains: number[] = [];
      for (const { demand, ms } of history) {
        nowMs += ms;
        const event = decideGpus(demand, policy, nowMs, state);
        const { decision } = event;
        const turned = { ...demand, stages: [...demand.stages].reverse() };
        if (JSON.stringify(moveGpus(turned, policy, nowMs, state)) !== JSON.stringify(decision)) {
          throw new Error('another order of the stages, another decision');
        }
        if (!replayGpus(JSON.parse(JSON.stringify(event))).isSame) throw new Error('it does not come out again');
        const granted = counts(decision);
        const isLimited = Object.values(granted).some((n) => n !== null);
        const used = demand.stages.reduce((sum, each) => sum + (granted[each.stage] ?? each.wanted) * each.gpus, 0);
        if (used > demand.gpus + 1e-6) throw new Error(`${used} of ${demand.gpus} GPUs`);
        const floors = demand.stages.reduce((sum, each) => sum + floorOf(each) * each.gpus, 0);
        for (const each of demand.stages) {
          const count = granted[each.stage] ?? each.wanted;
          if (count > each.wanted) throw new Error(`${each.stage} has more than it wants`);
          const { refused } = each;
          const isFailed = refused !== null || (decision.state.stages[each.stage]?.failed ?? null) !== null;
          if (isLimited && floors <= demand.gpus && !isFailed && count < floorOf(each)) {
            throw new Error(`${each.stage} starves: it has ${count}, and the floors fit`);
          }
        }
        for (const { reason, gain, loss } of decision.moves) {
          if (reason === 'gain' || reason === 'share') gains.push(nowMs);
          if (reason === 'gain' && !(gain * 0.8 > loss)) throw new Error(`a gain of ${gain} for a loss of ${loss}`);
        }
        const inWindow = gains.filter((at) => nowMs - at < policy.windowMs).length;
        if (inWindow > policy.perWindow) throw new Error(`${inWindow} moves in a window`);
        state = decision.state;
      }
    }),
    { numRuns: 1000, ...seeds },
  );
  t.pass('1000 histories');
  t.end();
});

void t.test('under one load it comes to rest, and no pair of stages moves forth and back', (t) => {
  fc.assert(
    fc.property(anyDemand, (demand) => {
      const steady = demandOf(
        demand.gpus,
        demand.stages.map((each) => ({ ...each, refused: null })),
      );
      let state = NO_GPU_STATE;
      const pairs = new Map<string, number>();
      let last = 0;
      for (let second = 0; second < 3600; second += 10) {
        const { moves, state: next } = moveGpus(steady, { ...policy, perWindow: 1000 }, second * 1000, state);
        const told = new Set(moves.flatMap(({ to, givers }) => givers.map(({ stage: from }) => `${from}>${to}`)));
        for (const pair of told) {
          pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
          const [from, to] = pair.split('>');
          if (pairs.has(`${to}>${from}`)) throw new Error(`${pair}, and back`);
        }
        if (moves.length > 0) last = second;
        state = next;
      }
      for (const [pair, n] of pairs) if (n > 1) throw new Error(`${pair} ${n} times`);
      // A stage that received gives only when it has rested. Few loads need that second step, and none a third one.
      if (last * 1000 > policy.restMs) throw new Error(`it moves ${last} s after the load was there`);
    }),
    { numRuns: 200, ...seeds },
  );
  t.pass('200 loads');
  t.end();
});
