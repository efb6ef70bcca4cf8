// Proves what a place does with what comes for its requests: any order, copies, late copies, failures, strangers,
// spilling; that everything is acknowledged exactly once, and that nothing waits for what will not come.
import fc from 'fast-check';
import t from 'tap';
import { Join, type Joined, targetsOf } from '../../src/ts/pipeline/join.js';
import { workflow } from '../../src/ts/pipeline/workflow.js';
import { bytes, type EnvelopePart, envelope, FakeMessage } from './support.js';

const handler = () => ({});
const graph = workflow('test', { module: __filename })
  .stage('left', { handler })
  .stage('right', { handler, instances: 3, spread: 'shard' })
  .stage('turns', { handler, instances: 2 })
  .stage('end', { after: ['request', 'left', 'right', 'turns'], handler });

const joinEnd = () => new Join(graph, 'end', 0, graph.get('end').after, 'soft0');
const from = (place: string, part: EnvelopePart = {}) => {
  const [stage = '', instance] = place.split('/');
  return new FakeMessage(envelope({ from: stage, fromInstance: Number(instance), ...part }), { x: bytes(1, 2, 3) });
};
const ALL = ['request/0', 'left/0', 'right/0', 'right/1', 'right/2', 'turns/1'];

void t.test(
  'a request is complete with its last input, in any order, with any copies, and is acknowledged once',
  async (t) => {
    const order = fc.shuffledSubarray(
      [...ALL, ...ALL, ...ALL].map((place, i) => `${place}#${i}`),
      {
        minLength: ALL.length * 3,
      },
    );
    fc.assert(
      fc.property(order, (places) => {
        const join = joinEnd();
        const messages: FakeMessage[] = [];
        let done: Joined | undefined;
        const seen = new Set<string>();
        for (const place of places) {
          const name = place.split('#')[0]!;
          const message = from(name, { ticket: 1 });
          messages.push(message);
          const was = seen.size;
          const got = join.take(message.message);
          seen.add(name);
          const last = seen.size === ALL.length && was < ALL.length;
          if ((got !== undefined) !== last) throw new Error('complete at the wrong message');
          done ??= got;
        }
        if (done === undefined) throw new Error('never complete');
        if (
          done
            .from('right')
            .map((input) => input.instance)
            .join() !== '0,1,2'
        )
          throw new Error('shards not in order');
        if (messages.some((message) => message.acknowledged > 0)) throw new Error('acknowledged too early');
        join.settle(done);
        const late = from('left/0', { ticket: 1 });
        if (join.take(late.message) !== undefined) throw new Error('a late copy counts');
        for (const message of [...messages, late]) {
          if (message.acknowledged !== 1 || message.released < 1) throw new Error('not acknowledged exactly once');
        }
        if (join.size !== 0) throw new Error('something is left');
      }),
      { seed: 7, numRuns: 300 },
    );
    t.pass('300 orders');
  },
);

void t.test('requests do not mix, and a settled one stays settled until the proxy has it', async (t) => {
  const join = new Join(graph, 'left', 0, ['request'], 'soft0');
  const first = join.take(from('request/0', { request: 'a', ticket: 4 }).message);
  const second = join.take(from('request/0', { request: 'b', ticket: 5 }).message);
  t.match([first?.request, second?.request], ['a', 'b']);
  join.settle(first!);
  t.equal(join.take(from('request/0', { request: 'a', ticket: 4 }).message), undefined, 'a copy');
  join.take(from('request/0', { request: 'c', ticket: 9, finishedBelow: 5 }).message);
  t.equal(
    join.take(from('request/0', { request: 'a', ticket: 4 }).message),
    undefined,
    'a copy after it was forgotten',
  );
  t.equal(join.size, 2);
});

void t.test('what waits for a sender that will not send again is let go when the proxy has the result', async (t) => {
  const join = joinEnd();
  const waiting = from('left/0', { request: 'old', ticket: 3 });
  t.equal(join.take(waiting.message), undefined);
  join.take(from('left/0', { request: 'new', ticket: 5, finishedBelow: 3 }).message);
  t.equal(waiting.acknowledged, 0, 'ticket 3 is still in the stages');
  join.take(from('left/0', { request: 'newer', ticket: 6, finishedBelow: 4 }).message);
  t.match({ ...waiting }, { acknowledged: 1, released: 1 });
  const late = from('turns/1', { request: 'old', ticket: 3 });
  t.equal(join.take(late.message), undefined);
  t.equal(late.acknowledged, 1);
  t.equal(join.size, 2, 'the two that are in the stages');
});

void t.test('a task that runs is not taken away when the proxy has its result', async (t) => {
  const join = new Join(graph, 'left', 0, ['request'], 'soft0');
  const message = from('request/0', { request: 'a', ticket: 0 });
  const joined = join.take(message.message)!;
  join.finish(10);
  t.match({ ...message }, { acknowledged: 0, released: 0 });
  t.same([...joined.from('request')[0]!.parts.x!.data], [1, 2, 3]);
  join.settle(joined);
  t.match({ ...message }, { acknowledged: 1 });
});

void t.test('the first failure counts, and the others do not hide it', async (t) => {
  const join = joinEnd();
  const failure = (stage: string) => ({ stage, code: 'RDMA_ERR_HANDLER', message: `${stage} fails` });
  let done: Joined | undefined;
  for (const [i, place] of ALL.entries()) {
    const error = i === 1 || i === 3 ? failure(place.split('/')[0]!) : null;
    done = join.take(from(place, { ticket: 1, error }).message) ?? done;
  }
  t.equal(done?.failure?.stage, 'left');
});

void t.test('what does not belong here is refused, given back, and changes nothing', async (t) => {
  const join = joinEnd();
  join.take(from('left/0', { ticket: 1 }).message);
  const strangers = [
    from('left/0', { workflow: 'other' }),
    from('turns/0', { ticket: 1 }), // it is the turn of turns/1
    from('left/1'),
    from('end/0'),
    from('right/3'),
    new FakeMessage({ ...envelope(), more: 1 }),
    new FakeMessage(null),
    new FakeMessage(envelope({ request: '' })),
    new FakeMessage({ ...envelope(), meta: [] }),
  ];
  for (const stranger of strangers) {
    t.throws(() => join.take(stranger.message), { code: 'RDMA_ERR_PROTOCOL' });
    t.match({ ...stranger }, { released: 1, acknowledged: 1 });
  }
  const noise = new FakeMessage({});
  noise.bytes.fill(7);
  t.throws(() => join.take(noise.message), { code: 'RDMA_ERR_PROTOCOL' });
  t.equal(join.size, 1);
});

void t.test('waiting inputs leave a lane that fills up, with their values', async (t) => {
  const crowds = [{ laneHeldBytes: 2 ** 20 / 3 + 64 }, { laneHeldMessages: 33 }, { laneBytes: 2 ** 31 - 64 }];
  for (const crowd of crowds) {
    const join = joinEnd();
    const calm = from('left/0', { ticket: 1 });
    join.take(calm.message);
    t.equal(calm.released, 0);
    const last = from('right/0', { ticket: 1 });
    Object.assign(last, crowd);
    join.take(last.message);
    t.match([calm.released, last.released, calm.acknowledged], [1, 1, 0]);
    calm.bytes.fill(0);
    let done: Joined | undefined;
    for (const place of ALL) done = join.take(from(place, { ticket: 1 }).message) ?? done;
    t.same([...done!.from('left')[0]!.parts.x!.data], [1, 2, 3]);
    t.not(done!.from('left')[0]!.parts.x!.data.buffer, calm.bytes.buffer);
  }
});

void t.test('they leave it too when the message that fills it waits for nothing', async (t) => {
  const join = joinEnd();
  const waiting = from('left/0', { request: 'a', ticket: 0 });
  join.take(waiting.message);
  const places = ['request/0', 'right/0', 'right/1', 'right/2', 'turns/1'];
  for (const place of places) join.take(from(place, { request: 'b', ticket: 1 }).message);
  const last = from('left/0', { request: 'b', ticket: 1 });
  last.laneHeldMessages = 40;
  const done = join.take(last.message);
  t.equal(done?.request, 'b');
  t.match([waiting.released, last.released], [1, 0], 'what is complete stays where it is');
});

void t.test('targets follow the ticket for turns, and are all instances for shards', async (t) => {
  const spread = workflow('spread', { module: __filename })
    .stage('a', { handler })
    .stage('b', { after: ['a'], handler, instances: 3 })
    .stage('c', { after: ['a'], handler, instances: 2, spread: 'shard' });
  const names = (ticket: number) => targetsOf(spread, 'a', ticket);
  t.same(names(4), ['b/1', 'c/0', 'c/1']);
  t.same(names(6), ['b/0', 'c/0', 'c/1']);
  t.same(targetsOf(spread, 'c', 0), []);
});
