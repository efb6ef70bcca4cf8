// Proves what one reader of a job's pieces hears: each once and in order, however late it reads, and `restarted`
// exactly when pieces that it has heard count no more.
import t from 'tap';
import fc from 'fast-check';
import { PieceLog, PieceReader, streamsOf } from '../../src/ts/jobs/piece-log.js';
import type { PieceEvent } from '../../src/ts/pipeline/index.js';

const piece = (instance: number, number: number, value: number): PieceEvent => {
  return { type: 'piece', stage: 's', instance, number, meta: { value }, parts: {} };
};

void t.test(
  'whatever is published, begun again and read in whatever order, the reader ends with what counts',
  async (t) => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('piece' as const), instance: fc.nat(1) }),
      fc.record({ do: fc.constant('restarted' as const), instance: fc.nat(1) }),
      fc.record({ do: fc.constant('begin' as const), instance: fc.nat(1) }),
      fc.record({ do: fc.constant('read' as const), instance: fc.nat(3) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const log = new PieceLog('me/1');
        const reader = new PieceReader();
        let value = 0;
        const counts: number[][] = [[], []];
        const heard: number[][] = [[], []];
        const hear = (event: PieceEvent) => {
          const mine = heard[event.instance]!;
          if (event.type === 'restarted') {
            if (mine.length === 0) throw new Error('restarted before any piece');
            mine.length = 0;
          } else {
            if (event.number !== mine.length) throw new Error('out of order');
            mine.push(event.meta.value as number);
          }
        };
        for (const { do: what, instance } of steps) {
          if (what === 'piece') {
            log.add(piece(instance, counts[instance]!.length, ++value));
            counts[instance]!.push(value);
          } else if (what === 'restarted') {
            log.add({ type: 'restarted', stage: 's', instance });
            counts[instance]!.length = 0;
          } else if (what === 'begin') {
            log.begin();
            for (const each of counts) each.length = 0;
          } else {
            for (let i = 0; i < instance; i++) {
              const event = reader.next(log.streams);
              if (event !== undefined) hear(event);
            }
          }
        }
        for (const event of reader.all(log.streams)) hear(event);
        return JSON.stringify(heard) === JSON.stringify(counts);
      }),
      { numRuns: 300 },
    );
    t.pass('300 histories: readers hear what is counted');
  },
);

void t.test("another run's stored result takes the place of what was heard", async (t) => {
  const log = new PieceLog('me/1');
  const reader = new PieceReader();
  for (const number of [0, 1]) log.add(piece(0, number, number));
  log.add(piece(1, 0, 5));
  t.equal([...reader.all(log.streams)].length, 3);
  const pieces = [{ number: 0, meta: { value: 9 }, parts: {} }];
  const stored = streamsOf([{ stage: 's', instance: 0, meta: {}, parts: {}, pieces }]);
  t.strictSame(
    [...reader.all(stored)].map((event) => [event.type, event.instance]),
    [
      ['restarted', 0],
      ['restarted', 1],
      ['piece', 0],
    ],
  );
});

void t.test('who waits is woken by a piece, and by an abort', async (t) => {
  const log = new PieceLog('me/1');
  const woken = log.next(undefined);
  log.add(piece(0, 0, 0));
  await woken;
  const control = new AbortController();
  const aborted = log.next(control.signal);
  control.abort();
  await t.rejects(aborted, { code: 'RDMA_ERR_ABORTED' });
  await t.rejects(log.next(control.signal), { code: 'RDMA_ERR_ABORTED' });
});
