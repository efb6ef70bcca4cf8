// Proves that inputs agree exactly when every stage that they have in common was the same run, shards included, by
// comparing the numbers that travel with the sets of runs that they stand for.
import fc from 'fast-check';
import t from 'tap';
import { type Descent, mergeRuns, NO_RUN, sameRuns } from '../../src/ts/pipeline/lineage.js';
import { GATEWAY_INDEX, type PlaceId } from '../../src/ts/pipeline/plan.js';
import { senders } from '../../src/ts/pipeline/routing.js';
import { type Example, examples } from './graphs.js';

// A message, and what went into it in full: for each stage, which process of each instance.
interface Made {
  descent: Descent;
  from: Map<number, string>;
}

// Plays a whole request. Each time that a place's output is asked for, it may be that of an older or a newer process;
// answers undefined when a place before it found that its inputs do not agree.
function play({ graph, plan, route, gateway }: Example, choose: () => number) {
  const stages = graph.spec.stages.length;
  const made = new Map<string, (Made | undefined)[]>();
  let joins = 0;
  const joinOf = (to: PlaceId) => {
    const inputs: Made[] = [];
    for (const from of senders(graph, plan, route, gateway, to)) {
      const all = made.get(`${from.stage}/${from.instance}`)!;
      const input = all[choose() % all.length];
      if (input === undefined) return undefined;
      inputs.push(input);
    }
    const runs = new Uint32Array(stages);
    const agreed = mergeRuns(
      inputs.map(({ descent }) => descent),
      runs,
    );
    // The same question, asked of what is known in full.
    const union = new Map<number, Map<string, string>>();
    let expected = true;
    const note = (stage: number, what: string, from: string) => {
      const known = union.get(stage) ?? new Map<string, string>();
      union.set(stage, known);
      if (known.size > 0 && known.get(what) === undefined) expected &&= false;
      if (known.has(what) && known.get(what) !== from) expected = false;
      known.set(what, from);
    };
    const own = new Map<number, string[]>();
    for (const { descent, from } of inputs) {
      for (const [stage, process] of from) if (stage !== descent.fromStage) note(stage, 'all', process);
      if (descent.fromStage >= 0) {
        const list = own.get(descent.fromStage) ?? [];
        own.set(descent.fromStage, [...list, `${descent.fromInstance}:${descent.incarnation}`]);
      }
    }
    for (const [stage, list] of own) note(stage, 'all', list.join());
    joins++;
    if (agreed !== expected) throw new Error(`agreed: ${agreed}, but should be ${expected}`);
    if (!agreed) return undefined;
    const from = new Map([...union].map(([stage, known]) => [stage, known.get('all')!]));
    for (let stage = 0; stage < stages; stage++) {
      if ((runs[stage] !== NO_RUN) !== from.has(stage)) throw new Error(`runs of stage ${stage} are wrong`);
    }
    return { runs, from };
  };
  const enter = { fromStage: GATEWAY_INDEX, fromInstance: gateway, incarnation: 9, runs: new Uint32Array(stages) };
  made.set(`${GATEWAY_INDEX}/${gateway}`, [{ descent: enter, from: new Map() }]);
  for (let stage = 0; stage < stages; stage++) {
    for (const instance of plan.instances[stage]!) {
      const outputs: (Made | undefined)[] = [];
      for (let incarnation = 1; incarnation <= 2; incarnation++) {
        if (senders(graph, plan, route, gateway, { stage, instance }).length === 0) continue;
        const joined = joinOf({ stage, instance });
        if (joined === undefined) {
          outputs.push(undefined);
          continue;
        }
        const runs = joined.runs.slice();
        runs[stage] = incarnation;
        const descent = { fromStage: stage, fromInstance: instance, incarnation, runs };
        outputs.push({ descent, from: joined.from });
      }
      made.set(`${stage}/${instance}`, outputs);
    }
  }
  joinOf({ stage: GATEWAY_INDEX, instance: gateway });
  return joins;
}

void t.test('inputs agree exactly when every common ancestor was the same run', async (t) => {
  let joins = 0;
  fc.assert(
    fc.property(examples, fc.infiniteStream(fc.nat({ max: 1 })), (example, choices) => {
      joins += play(example, () => choices.next().value as number);
    }),
    { seed: 3, numRuns: 500 },
  );
  t.ok(joins > 1000, `${joins} joins`);
});

const descent = (fromStage: number, fromInstance: number, incarnation: number, ...runs: number[]): Descent => ({
  fromStage,
  fromInstance,
  incarnation,
  runs: Uint32Array.from(runs),
});
const agree = (...inputs: Descent[]) => mergeRuns(inputs, new Uint32Array(3));
const merged = (...inputs: Descent[]) => {
  const runs = new Uint32Array(3);
  if (!mergeRuns(inputs, runs)) throw new Error('they do not agree');
  return runs;
};

void t.test('the request alone has no runs', async (t) => {
  t.same([...merged(descent(-1, 0, 5, 0, 0, 0))], [0, 0, 0]);
});

void t.test('a set of shards is one run, whichever of them was another process', async (t) => {
  const set = (...incarnations: number[]) => merged(...incarnations.map((n, i) => descent(0, i, n, n, 0, 0)))[0];
  const runs = [set(1, 1), set(1, 2), set(2, 1), set(2, 2), set(1), set(2), set(1, 1, 1)];
  t.equal(new Set(runs).size, runs.length, runs.join());
  t.equal(set(1, 2), set(1, 2));
  t.notOk(runs.includes(NO_RUN));
});

void t.test('a stage that comes directly and by way of another must be the same run both times', async (t) => {
  const [run = 0] = merged(descent(0, 0, 1, 1, 0, 0));
  t.ok(agree(descent(0, 0, 1, 1, 0, 0), descent(1, 0, 1, run, 1, 0)));
  t.notOk(agree(descent(0, 0, 2, 2, 0, 0), descent(1, 0, 1, run, 1, 0)));
  t.notOk(agree(descent(1, 0, 1, run, 1, 0), descent(2, 0, 1, run + 1, 0, 1)));
  t.ok(agree(descent(1, 0, 1, run, 1, 0), descent(2, 0, 1, 0, 0, 1)), 'nothing in common');
});

void t.test('incarnations up to 2^32 - 1 are told apart', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 32 - 1 }), fc.integer({ min: 1, max: 2 ** 32 - 1 }), (a, b) => {
      const [x] = merged(descent(0, 3, a, a, 0, 0));
      const [y] = merged(descent(0, 3, b, b, 0, 0));
      // Two numbers are merged into 1, as 0 means that there is no run.
      if ((x === y) !== (a === b) && x !== 1) throw new Error(`${a} and ${b}`);
    }),
    { seed: 5, numRuns: 1000 },
  );
  t.ok(sameRuns(Uint32Array.of(1, 2), Uint32Array.of(1, 2)));
  t.notOk(sameRuns(Uint32Array.of(1, 2), Uint32Array.of(1, 3)));
});
