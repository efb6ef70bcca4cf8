// Proves that links keep as many pieces as the requests that are let in may have, and who takes whose output how.
import fc from 'fast-check';
import t from 'tap';
import { laneMemoryBytes, laneSizes, placeSizes } from '../../src/ts/pipeline/lane-sizes.js';
import { graphOf } from '../../src/ts/pipeline/routing.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';
import {
  keptPieces,
  mostPieces,
  outputRoom,
  requestsOfGateway,
  residentRequests,
  Take,
  takesOf,
} from '../../src/ts/pipeline/stream-limits.js';

const sizes = placeSizes({ portAddress: () => ({ type: 'soft' }) } as never);

void t.test('each stage is taken whole, gathered or as it comes', async (t) => {
  const graph = graphOf(
    checkSpec({
      name: 'flow',
      stages: [
        { name: 'make', maxPieces: 4 },
        { name: 'whole' },
        { name: 'take', after: ['make', 'whole', 'request'], streams: ['make'] },
        { name: 'gather', after: ['make'], maxPieces: 2 },
      ],
    }),
  );
  t.equal(takesOf(graph, 0), undefined);
  t.same([...takesOf(graph, 2)!], [Take.STREAMED, Take.WHOLE, Take.WHOLE, Take.WHOLE]);
  t.same([...takesOf(graph, 3)!], [Take.GATHERED, Take.WHOLE, Take.WHOLE, Take.WHOLE]);
  t.same([...takesOf(graph, -1)!], [Take.WHOLE, Take.WHOLE, Take.WHOLE, Take.GATHERED]);
});

void t.test('a workflow without streams is as it was', async (t) => {
  const spec = checkSpec({ name: 'flow', stages: [{ name: 'a' }, { name: 'b', after: ['a'] }] });
  t.equal(mostPieces(spec), 0);
  t.equal(residentRequests(spec, sizes), sizes.residentRequests);
  t.equal(keptPieces(spec, 0, sizes, 3), 0);
  t.equal(outputRoom(spec), 4 * 2 ** 20);
  t.same(laneSizes(sizes, 0), laneSizes(sizes));
});

void t.test(
  'gateways share what may be resident and what a pool has room for, and each has one at least',
  async (t) => {
    const spec = checkSpec({ name: 'flow', stages: [{ name: 'a' }] });
    const room = outputRoom(spec);
    const of = (requests: number, gateways: number) =>
      requestsOfGateway(spec, { residentRequests: 10, streamedPieces: 100, poolBytes: requests * room }, gateways);
    t.equal(of(100, 1), 10);
    t.equal(of(100, 3), 3);
    t.equal(of(7.5, 1), 7);
    t.equal(of(7.5, 2), 3);
    t.equal(of(0.5, 1), 1);
    t.equal(of(100, 20), 1);
  },
);

void t.test('what the resident requests may have fits into what a link keeps', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 1024 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 64 }),
      (pieces, gateways) => {
        const stages = pieces.map((maxPieces, i) => ({ name: `s${i}`, maxPieces }));
        const spec = checkSpec({ name: 'flow', stages });
        const resident = residentRequests(spec, sizes);
        if (resident < 1 || resident > sizes.residentRequests) throw new Error('no request, or too many');
        // Each gateway lets in its share, but one request always.
        const letIn = gateways * Math.max(1, Math.floor(resident / gateways));
        pieces.forEach((maxPieces, stage) => {
          const kept = keptPieces(spec, stage, sizes, gateways);
          if (kept < letIn * maxPieces) throw new Error(`${kept} pieces are kept of ${letIn} x ${maxPieces}`);
          const { retainMessages } = laneSizes(sizes, kept);
          if (retainMessages < 3 * (letIn + kept)) throw new Error('an outbox retains less');
        });
        if (keptPieces(spec, -1, sizes, gateways) !== 0) throw new Error('gateways have no streams');
      },
    ),
    { seed: 23, numRuns: 300 },
  );
  t.ok(laneMemoryBytes(sizes, 1024) > laneMemoryBytes(sizes));
});

void t.test('the run of a stream that was given up has room beside the next one', async (t) => {
  const spec = checkSpec({
    name: 'flow',
    stages: [{ name: 'a', maxPieces: 4, maxOutputBytes: 1000 }],
    maxRequestBytes: 10,
  });
  t.equal(outputRoom(spec), 2000);
});
