// Proves, over random graphs, plans and routes, that receivers() and senders() are each other's inverse, and that a
// request's messages reach every place of its route exactly once from each place before it.
import fc from 'fast-check';
import t from 'tap';
import { GATEWAY_INDEX, makePlan, type PlaceId, type Plan } from '../../src/ts/pipeline/plan.js';
import {
  ALL,
  type Graph,
  graphOf,
  placesOf,
  possibleReceivers,
  possibleSenderCount,
  receivers,
  senders,
  takesPart,
} from '../../src/ts/pipeline/routing.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';
import { type Example, examples } from './graphs.js';

const key = ({ stage, instance }: PlaceId) => `${stage}/${instance}`;
const everyPlace = ({ plan }: Example): PlaceId[] => [
  ...plan.instances.flatMap((list, stage) => list.map((instance) => ({ stage, instance }))),
  ...plan.gateways.map((instance) => ({ stage: GATEWAY_INDEX, instance })),
];
const check = (property: (example: Example) => void) =>
  fc.assert(fc.property(examples, property), { seed: 20601, numRuns: 300 });

void t.test('receivers() and senders() are each other’s inverse', async (t) => {
  check((example) => {
    const { graph, plan, route, gateway } = example;
    const places = everyPlace(example);
    for (const from of places) {
      const to = new Set(receivers(graph, plan, route, gateway, from).map(key));
      for (const place of places) {
        const back = senders(graph, plan, route, gateway, place).some((sender) => key(sender) === key(from));
        if (back !== to.has(key(place))) throw new Error(`${key(from)} and ${key(place)} do not agree`);
      }
    }
  });
  t.pass('300 examples');
});

void t.test('a place takes part exactly when something reaches it, and what it sends goes somewhere', async (t) => {
  check((example) => {
    const { graph, plan, route, gateway } = example;
    for (const place of everyPlace(example)) {
      const part = takesPart(plan, route, gateway, place);
      const to = receivers(graph, plan, route, gateway, place);
      const from = senders(graph, plan, route, gateway, place);
      if (part !== to.length > 0 || part !== from.length > 0) throw new Error(`${key(place)} hangs in the air`);
    }
  });
  t.pass('300 examples');
});

// Follows one request from its gateway, as the places do: each sends once, when it has heard from all its senders.
function follow({ graph, plan, route, gateway }: Example): Map<string, string[]> {
  const got = new Map<string, string[]>();
  const enter = { stage: GATEWAY_INDEX, instance: gateway };
  const sending: PlaceId[] = [enter];
  for (let turn = 0; sending.length > 0 && turn < 10_000; turn++) {
    const from = sending.shift()!;
    for (const to of receivers(graph, plan, route, gateway, from)) {
      const name = key(to);
      const list = got.get(name) ?? [];
      got.set(name, [...list, key(from)]);
      if (to.stage === GATEWAY_INDEX) continue;
      if (list.length + 1 === senders(graph, plan, route, gateway, to).length) sending.push(to);
    }
  }
  return got;
}

void t.test(
  'a request reaches every place of its route once from each sender, and its result one gateway',
  async (t) => {
    check((example) => {
      const { graph, plan, route, gateway } = example;
      const got = follow(example);
      for (const place of everyPlace(example)) {
        const from = got.get(key(place)) ?? [];
        const expected = senders(graph, plan, route, gateway, place).map(key);
        if (from.toSorted().join() !== expected.toSorted().join()) throw new Error(`${key(place)} heard from ${from}`);
        if (new Set(from).size !== from.length) throw new Error(`${key(place)} heard twice`);
      }
    });
    t.pass('300 examples');
  },
);

void t.test('senders of one sharded stage come side by side and in order, as lineage wants them', async (t) => {
  check((example) => {
    const { graph, plan, route, gateway } = example;
    for (const place of everyPlace(example)) {
      const list = senders(graph, plan, route, gateway, place);
      const stages = list.map(({ stage }) => stage).filter((stage, i, all) => stage !== all[i - 1]);
      if (new Set(stages).size !== stages.length) throw new Error('a stage comes in two pieces');
      list.forEach(({ stage, instance }, i) => {
        const before = list[i - 1];
        if (before?.stage === stage && before.instance >= instance) throw new Error('shards out of order');
      });
    }
  });
  t.pass('300 examples');
});

void t.test(
  'whatever the route, receivers are among the possible ones, and senders no more than counted',
  async (t) => {
    check((example) => {
      const { graph, plan, route, gateway } = example;
      for (const place of everyPlace(example)) {
        const possible = new Set(possibleReceivers(graph, plan, place).map(key));
        for (const to of receivers(graph, plan, route, gateway, place)) {
          if (!possible.has(key(to))) throw new Error(`${key(place)} has no way to ${key(to)}`);
        }
        if (senders(graph, plan, route, gateway, place).length > possibleSenderCount(graph, plan, place)) {
          throw new Error(`more senders than ${key(place)} has lanes for`);
        }
      }
    });
    t.pass('300 examples');
  },
);

const spec = checkSpec({
  name: 'flow',
  stages: [
    { name: 'a', instances: 2 },
    { name: 'b', after: ['a', 'request'], instances: 2, spread: 'shard' },
    { name: 'c', after: ['a'] },
    { name: 'd', after: ['b', 'c'] },
  ],
});
const graph: Graph = graphOf(spec);
const plan: Plan = makePlan(spec, 1, [[0, 3], [1, 2], [0], [0]], [4, 6]);
const route = [3, ALL, 0, 0];

void t.test('the graph by index says what each stage depends on', async (t) => {
  t.same(graph.before, [[-1], [0, -1], [0], [1, 2]]);
  t.same(graph.behind, [[1, 2], [3], [3], []]);
  t.same([graph.first, graph.last], [[0, 1], [3]]);
  t.same(
    graph.ancestors.map((set) => [...set].sort()),
    [[], [0], [0], [0, 1, 2]],
  );
});

void t.test('a route by example', async (t) => {
  const to = (stage: number, instance: number) =>
    receivers(graph, plan, route, 4, { stage, instance }).map((place) => key(place));
  t.same(to(GATEWAY_INDEX, 4), ['0/3', '1/1', '1/2']);
  t.same(to(GATEWAY_INDEX, 6), [], 'another gateway has nothing to do with it');
  t.same(to(0, 0), [], 'nor has another instance');
  t.same(to(0, 3), ['1/1', '1/2', '2/0']);
  t.same(to(1, 2), ['3/0']);
  t.same(to(3, 0), ['-1/4']);
  t.same([placesOf(plan, route, 0), placesOf(plan, route, 1)], [[3], [1, 2]]);
  t.same(
    [
      possibleSenderCount(graph, plan, { stage: 1, instance: 1 }),
      possibleReceivers(graph, plan, { stage: 3, instance: 0 }),
    ],
    [
      4,
      [
        { stage: GATEWAY_INDEX, instance: 4 },
        { stage: GATEWAY_INDEX, instance: 6 },
      ],
    ],
  );
});
