// Proves what becomes of the messages of a stream, in whatever order and however often they come: pieces are read in
// order, the stream is closed with its last message, a newer run begins it again, and every message is acknowledged
// once.
import fc from 'fast-check';
import t from 'tap';
import type { Envelope } from '../../src/ts/pipeline/envelope.js';
import { Join, type JoinedInputs } from '../../src/ts/pipeline/join.js';
import { makePlan } from '../../src/ts/pipeline/plan.js';
import { graphOf, senders } from '../../src/ts/pipeline/routing.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';
import { takesOf } from '../../src/ts/pipeline/stream-limits.js';
import { type FakeMessage, inputOf } from './messages.js';

const spec = checkSpec({
  name: 'flow',
  stages: [
    { name: 'make', maxPieces: 8 },
    { name: 'take', after: ['make'], streams: ['make'] },
    { name: 'gather', after: ['make'] },
  ],
});
const graph = graphOf(spec);
const plan = makePlan(spec, 1);
const route = Uint16Array.of(0, 0, 0);

function joinAt(stage: 1 | 2) {
  const self = { stage, instance: 0 };
  let nowUs = 0;
  const join = new Join({
    sendersOf: () => ({ plan, senders: senders(graph, plan, route, 0, self) }),
    nowUs: () => ++nowUs,
    takes: takesOf(graph, stage),
  });
  const messages: FakeMessage[] = [];
  const send = (part: Partial<Envelope>): JoinedInputs | undefined => {
    const incarnation = part.incarnation ?? 1;
    const head = { fromStage: 0, incarnation, task: 1, route, runs: Uint32Array.of(incarnation, 0, 0), ...part };
    const { input, message } = inputOf(spec, head);
    messages.push(message);
    input.load(message.bytes);
    return join.accept(input);
  };
  return { join, send, messages };
}

const numbersOf = (joined: JoinedInputs) => joined.streams![0]!.pieces.map(({ number }) => number);

void t.test('any order, any copies: pieces are read without a gap, and the last message closes', async (t) => {
  const PIECES = 5;
  const each = Array.from({ length: PIECES + 1 }, (_, i) => i); // the last one closes
  fc.assert(
    fc.property(
      fc.shuffledSubarray([...each, ...each, ...each], { minLength: 3 * each.length }),
      fc.constantFrom(1 as const, 2 as const),
      (order, stage) => {
        const { join, send, messages } = joinAt(stage);
        const seen = new Set<number>();
        let joined: JoinedInputs | undefined;
        for (const number of order) {
          joined = send(number === PIECES ? { pieces: PIECES } : { piece: number }) ?? joined;
          seen.add(number);
          let readable = 0;
          while (readable < PIECES && seen.has(readable)) readable++;
          if (numbersOf(joined!).length !== readable) throw new Error('another prefix can be read');
          const closed = seen.size === PIECES + 1;
          if (joined!.isClosed !== closed) throw new Error('closed at the wrong message');
          if (joined!.completes() !== (stage === 1 ? readable > 0 || closed : closed)) {
            throw new Error('a task begins at the wrong message');
          }
        }
        if (messages.filter(({ acknowledged }) => acknowledged === 0).length !== PIECES + 1) {
          throw new Error('not one message of each number is held');
        }
        joined!.state = 'sent';
        join.settle(joined!);
        if (messages.some(({ acknowledged }) => acknowledged !== 1)) throw new Error('not acknowledged once');
      },
    ),
    { seed: 24, numRuns: 200 },
  );
  t.pass('200 orders');
});

void t.test('a newer run begins the stream again, and cancels the task that reads it', async (t) => {
  const { join, send, messages } = joinAt(1);
  const first = send({ piece: 0 })!;
  send({ piece: 1 });
  t.ok(first.completes());
  first.state = 'running';
  const reasons: string[] = [];
  first.onCancel = ({ code }) => void reasons.push(code);
  const second = send({ incarnation: 2, piece: 0 })!;
  t.not(second, first);
  t.same(reasons, ['RDMA_ERR_ABORTED']);
  t.equal(first.state, 'over');
  t.same(numbersOf(second), [0]);
  // What its handler may still look at is not acknowledged.
  t.same(
    messages.map(({ acknowledged }) => acknowledged),
    [0, 0, 0],
  );
  join.settle(first);
  t.same(
    messages.map(({ acknowledged }) => acknowledged),
    [1, 1, 0],
  );
  // A late piece of the older run takes part in nothing.
  t.equal(send({ piece: 2 }), undefined);
  t.equal(messages.at(-1)!.acknowledged, 1);
  t.same(numbersOf(second), [0]);
  // Nor does one of an older task of the same process.
  send({ incarnation: 2, task: 4, runs: Uint32Array.of(2, 9, 0), piece: 0 });
  t.equal(send({ incarnation: 2, task: 3, runs: Uint32Array.of(2, 8, 0), piece: 5 }), undefined);
  t.equal(messages.at(-1)!.acknowledged, 1);
});

void t.test('a stream that nobody reads yet is let go at once when a newer run comes', async (t) => {
  const { send, messages } = joinAt(2);
  const joined = send({ piece: 0 })!;
  send({ piece: 3 });
  t.equal(send({ incarnation: 2, pieces: 0 }), joined);
  t.same(
    messages.map(({ acknowledged }) => acknowledged),
    [1, 1, 0],
  );
  t.ok(joined.completes());
});

void t.test('what cannot be is refused: a piece behind the end, and a stream where there is none', async (t) => {
  const PROTOCOL = { code: 'RDMA_ERR_PROTOCOL' };
  const { send } = joinAt(1);
  send({ piece: 2 });
  t.throws(() => send({ pieces: 2 }), { ...PROTOCOL, message: /piece 2 of a stream of 2/ });
  send({ pieces: 3 });
  t.throws(() => send({ piece: 3 }), { ...PROTOCOL, message: /piece 3 of a stream of 3/ });
  t.throws(() => send({ ticket: 2 }), { ...PROTOCOL, message: /sends by a stream/ });
});
