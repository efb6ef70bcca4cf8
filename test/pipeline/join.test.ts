// Proves what a place does with what comes for its requests: any order, copies, newer runs, newer attempts, ended
// requests, strangers; that every message is acknowledged exactly once, and not before nobody needs it.
import fc from 'fast-check';
import t from 'tap';
import type { Envelope } from '../../src/ts/pipeline/envelope.js';
import { Join, type JoinedInputs } from '../../src/ts/pipeline/join.js';
import { GATEWAY_INDEX, makePlan, type PlaceId } from '../../src/ts/pipeline/plan.js';
import { ALL, graphOf, senders } from '../../src/ts/pipeline/routing.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';
import type { RdmaError } from '../../src/ts/core/errors.js';
import { type FakeMessage, inputOf } from './messages.js';

const spec = checkSpec({
  name: 'flow',
  stages: [
    { name: 'left' },
    { name: 'right', instances: 3, spread: 'shard' },
    { name: 'turns', instances: 2 },
    { name: 'end', after: ['request', 'left', 'right', 'turns'] },
  ],
});
const graph = graphOf(spec);
const plan = makePlan(spec, 1);
const route = Uint16Array.of(0, ALL, 1, 0);
const END: PlaceId = { stage: 3, instance: 0 };
const SENDERS = ['request/0', 'left/0', 'right/0', 'right/1', 'right/2', 'turns/1'];
const INDEX: Record<string, number> = { request: GATEWAY_INDEX, left: 0, right: 1, turns: 2, end: 3 };

// A join at a place, and every message that came to it.
function joinAt(self: PlaceId = END) {
  let nowUs = 0;
  const join = new Join({
    sendersOf: ({ envelope }) => ({ plan, senders: senders(graph, plan, envelope.route, envelope.gateway, self) }),
    nowUs: () => ++nowUs,
  });
  const messages: FakeMessage[] = [];
  const send = (
    place: string,
    part: Partial<Envelope> = {},
  ): { joined: JoinedInputs | undefined; message: FakeMessage } => {
    const [stage = '', instance] = place.split('/');
    const fromStage = INDEX[stage]!;
    const incarnation = part.incarnation ?? 1;
    const runs = Uint32Array.from(spec.stages, (_, i) => (i === fromStage ? incarnation : 0));
    const head = { fromStage, fromInstance: Number(instance), incarnation, route, runs, ...part };
    const { input, message } = inputOf(spec, head);
    messages.push(message);
    input.load(message.bytes);
    return { joined: join.accept(input), message };
  };
  return { join, send, messages };
}

// As a place does: complete, run, sent, acknowledged by all receivers.
function finish(join: Join, joined: JoinedInputs): void {
  if (!joined.completes()) throw new Error('not complete');
  joined.state = 'sent';
  join.settle(joined);
}

void t.test('a task is complete with its last input, in any order, with any copies', async (t) => {
  const order = fc.shuffledSubarray(
    [...SENDERS, ...SENDERS, ...SENDERS].map((place, i) => `${place}#${i}`),
    { minLength: SENDERS.length * 3 },
  );
  fc.assert(
    fc.property(order, (places) => {
      const { join, send, messages } = joinAt();
      const seen = new Set<string>();
      let done: JoinedInputs | undefined;
      for (const place of places) {
        const name = place.split('#')[0]!;
        const { joined } = send(name);
        const isNew = !seen.has(name);
        seen.add(name);
        if ((joined !== undefined) !== isNew) throw new Error('a copy counts as an input');
        if (joined !== undefined && joined.completes() !== (seen.size === SENDERS.length)) {
          throw new Error('complete at the wrong message');
        }
        done = joined ?? done;
      }
      const shards = done!.from('right').map((input) => input!.instance);
      if (shards.join() !== '0,1,2') throw new Error('shards are out of order');
      // Of every copy but the newest it is known that a newer one is held.
      if (messages.filter(({ acknowledged }) => acknowledged === 0).length !== SENDERS.length) {
        throw new Error('not one message of each sender is held');
      }
      finish(join, done!);
      if (send('left/0').joined !== undefined) throw new Error('a late copy counts');
      if (messages.some(({ acknowledged }) => acknowledged !== 1)) throw new Error('not acknowledged exactly once');
      if (join.openCount !== 0) throw new Error('something is left');
    }),
    { seed: 7, numRuns: 300 },
  );
  t.pass('300 orders');
});

void t.test('a copy is exchanged: the older message is acknowledged, the newer one held', async (t) => {
  const { send } = joinAt();
  const { message: first } = send('left/0');
  const { message: second, joined } = send('left/0');
  t.equal(joined, undefined);
  t.same([first.acknowledged, second.acknowledged], [1, 0]);
});

void t.test('copies are exchanged while the task runs and after it was sent, too', async (t) => {
  const { join, send } = joinAt({ stage: 0, instance: 0 });
  const { joined, message } = send('request/0');
  joined!.completes();
  joined!.state = 'running';
  const { message: second } = send('request/0');
  t.same([message.acknowledged, second.acknowledged], [1, 0]);
  joined!.state = 'sent';
  const { message: third } = send('request/0');
  t.same([second.acknowledged, third.acknowledged], [1, 0]);
  join.settle(joined!);
  t.equal(third.acknowledged, 1);
});

void t.test('a newer run of a sender takes the place of an older one, which counts no more', async (t) => {
  const { join, send } = joinAt();
  const { message: old } = send('left/0', { incarnation: 2 });
  const { joined, message: newer } = send('left/0', { incarnation: 3 });
  t.same([old.acknowledged, newer.acknowledged], [1, 0]);
  const { joined: none, message: late } = send('left/0', { incarnation: 2 });
  t.same([none, late.acknowledged, newer.acknowledged], [undefined, 1, 0]);
  for (const place of SENDERS.filter((name) => name !== 'left/0')) send(place);
  t.ok(joined!.completes());
  finish(join, joined!);
  t.equal(newer.acknowledged, 1);
});

void t.test(
  'inputs of different runs of a stage before do not make a task, until the older one was made again',
  async (t) => {
    const { send } = joinAt();
    // As if right had taken its input from left.
    const [first, second] = [11, 22];
    for (const place of ['request/0', 'right/1', 'right/2', 'turns/1']) {
      send(place, place.startsWith('right') ? { runs: Uint32Array.of(first, 1, 0, 0) } : {});
    }
    const { joined } = send('right/0', { runs: Uint32Array.of(second, 1, 0, 0) });
    send('left/0');
    t.notOk(joined!.completes(), 'shards of different runs of left');
    const { joined: again } = send('right/0', { runs: Uint32Array.of(first, 1, 0, 0) });
    t.equal(again, joined);
    t.notOk(joined!.completes(), 'left itself is of another run');
  },
);

void t.test('a task that runs is stopped and made again when an input was made again', async (t) => {
  const { join, send } = joinAt({ stage: 0, instance: 0 });
  const { joined: old, message: first } = send('request/0', { incarnation: 1 });
  old!.completes();
  old!.state = 'running';
  let reason: RdmaError | undefined;
  old!.onCancel = (why) => {
    reason = why;
  };
  const { joined: next, message: second } = send('request/0', { incarnation: 2 });
  t.not(next, old);
  t.same([old!.state, next!.state, reason?.code], ['over', 'incomplete', 'RDMA_ERR_ABORTED']);
  t.same([first.acknowledged, second.acknowledged], [0, 0], 'the handler may still read the older one');
  join.settle(old!);
  t.same([first.acknowledged, second.acknowledged, join.openCount], [1, 0, 1]);
  finish(join, next!);
  t.same([second.acknowledged, join.openCount], [1, 0]);
});

void t.test('inputs that stay are shared by the older and the newer task', async (t) => {
  const { join, send, messages } = joinAt();
  let old: JoinedInputs | undefined;
  for (const place of SENDERS) old = send(place).joined ?? old;
  old!.completes();
  old!.state = 'running';
  const { joined: next } = send('left/0', { incarnation: 2 });
  join.settle(old!);
  t.same(
    messages.map(({ acknowledged }) => acknowledged),
    [0, 1, 0, 0, 0, 0, 0],
    'only what was replaced',
  );
  finish(join, next!);
  t.ok(messages.every(({ acknowledged }) => acknowledged === 1));
});

void t.test('what was made of an older input is not asked for again when it was sent already', async (t) => {
  const { join, send } = joinAt({ stage: 0, instance: 0 });
  const { joined: old } = send('request/0', { incarnation: 1 });
  old!.completes();
  old!.state = 'sent';
  const { joined: next } = send('request/0', { incarnation: 2 });
  t.same([old!.state, next!.state, join.openCount], ['sent', 'incomplete', 1]);
  join.settle(old!);
  t.equal(join.openCount, 1, 'the newer one goes on');
  finish(join, next!);
  t.equal(join.openCount, 0);
});

void t.test('a newer attempt ends the older one, and what is left of an older attempt is let go', async (t) => {
  const { join, send } = joinAt();
  const { message: old } = send('left/0', { attempt: 1 });
  const { joined, message } = send('request/0', { attempt: 2 });
  t.same([old.acknowledged, message.acknowledged, joined!.attempt], [1, 0, 2]);
  const { joined: none, message: late } = send('turns/1', { attempt: 1 });
  t.same([none, late.acknowledged, join.openCount], [undefined, 1, 1]);
  for (const place of SENDERS.filter((name) => name !== 'request/0')) send(place, { attempt: 2 });
  finish(join, joined!);
  t.equal(send('left/0', { attempt: 2 }).message.acknowledged, 1, 'settled');
  t.ok(send('left/0', { attempt: 3 }).joined, 'but not for a further attempt');
});

void t.test('a request that has ended at its gateway is not worked on, whenever its messages come', async (t) => {
  const { join, send } = joinAt();
  const ledger = join.ledgerOf(0, 77);
  const { message: waiting } = send('left/0', { ticket: 5 });
  join.endRequest(ledger, 5, 1);
  t.same([waiting.acknowledged, join.openCount], [1, 0]);
  t.equal(send('turns/1', { ticket: 5 }).message.acknowledged, 1);
  join.endRequest(ledger, 6, 1);
  t.equal(send('left/0', { ticket: 6 }).message.acknowledged, 1, 'its first message came after the note');
  t.ok(send('left/0', { ticket: 6, attempt: 2 }).joined, 'a later attempt goes on');
  join.endRequest(ledger, 6, 1);
  t.equal(join.openCount, 1, 'a late note does not end it');
});

void t.test('what is below the oldest ticket has ended', async (t) => {
  const { join, send } = joinAt();
  const { message: old } = send('left/0', { ticket: 3 });
  send('left/0', { ticket: 5, finishedBelow: 3 });
  t.equal(old.acknowledged, 0, 'ticket 3 has not ended');
  send('left/0', { ticket: 6, finishedBelow: 4 });
  t.equal(old.acknowledged, 1);
  t.equal(send('turns/1', { ticket: 3 }).message.acknowledged, 1);
  t.equal(join.openCount, 2);
});

void t.test('a task that runs keeps its inputs until it has stopped, though its request has ended', async (t) => {
  const { join, send } = joinAt({ stage: 0, instance: 0 });
  const { joined, message } = send('request/0');
  joined!.completes();
  joined!.state = 'running';
  const reasons: string[] = [];
  joined!.onCancel = ({ code }) => void reasons.push(code);
  join.endRequest(joined!.ledger, 1, 1);
  t.same([joined!.state, message.acknowledged, reasons], ['over', 0, ['RDMA_ERR_ABORTED']]);
  join.settle(joined!);
  t.equal(message.acknowledged, 1);
});

void t.test('gateways and their runs do not mix', async (t) => {
  const { join, send } = joinAt();
  const one = send('left/0', { gateway: 0, gatewayRun: 7 }).joined;
  const other = send('left/0', { gateway: 1, gatewayRun: 7 }).joined;
  const later = send('left/0', { gateway: 0, gatewayRun: 8 }).joined;
  t.equal(new Set([one, other, later]).size, 3);
  t.equal(join.openCount, 3);
  send('left/0', { gateway: 0, gatewayRun: 8, ticket: 9, finishedBelow: 9 });
  t.equal(join.openCount, 3, 'tickets of the run before are others');
  t.equal(send('turns/1', { gateway: 0, gatewayRun: 7 }).joined, one, 'the older run goes on');
  join.end(one!);
  join.end(other!);
  t.same([...join.all()].length, 1);
});

void t.test('who does not send here is refused, and nothing changes', async (t) => {
  const { join, send, messages } = joinAt();
  send('left/0');
  for (const [place, part] of [
    ['turns/0', {}],
    ['left/1', {}],
    ['right/3', {}],
    ['end/0', {}],
    ['request/1', {}],
    ['left/0', { ticket: 2, route: Uint16Array.of(0, ALL, 1, 1) }],
  ] as [string, Partial<Envelope>][]) {
    t.throws(() => send(place, part), { code: 'RDMA_ERR_PROTOCOL', message: /does not send to this place/ }, place);
  }
  t.ok(
    messages.every(({ acknowledged }) => acknowledged === 0),
    'a refused part is not acknowledged',
  );
  t.equal(join.openCount, 1);
});

void t.test('settled requests are remembered, but not without end', async (t) => {
  const { join, send } = joinAt({ stage: 0, instance: 0 });
  for (let ticket = 1; ticket <= 9000; ticket++) finish(join, send('request/0', { ticket }).joined!);
  t.equal(send('request/0', { ticket: 9000 }).joined, undefined);
  t.ok(send('request/0', { ticket: 1 }).joined, 'the oldest may run again: the gateway recognises it');
});
