// Proves: a traceparent is read as the recommendation has it, and travels to every handler of a traced request.
import t from 'tap';
import { checkRequestOptions } from '../../src/ts/pipeline/request.js';
import {
  contextRecords,
  readContextRecords,
  readTraceparent,
  writeTraceparent,
} from '../../src/ts/pipeline/trace-context.js';
import { TraceRecords } from '../../src/ts/pipeline/trace.js';
import { start } from '../cluster/support.js';
import { contexts } from './workflows.js';

const SAMPLED = `00-${'4bf92f35'.repeat(4)}-00f067aa0ba902b7-01`;
const UNSAMPLED = SAMPLED.replace(/01$/, '00');

void t.test('traceparent is read as the recommendation has it', async (t) => {
  const id = '4bf92f3577b34da6a3ce929d0e0e4736';
  const good = `00-${id}-00f067aa0ba902b7-01`;
  t.strictSame(readTraceparent(good), { traceId: id, spanId: '00f067aa0ba902b7', traceFlags: 1 });
  t.equal(writeTraceparent(readTraceparent(good)!), good);
  t.ok(readTraceparent(`cc-${id}-00f067aa0ba902b7-01-later`), 'of a later version');
  const bad = [
    undefined,
    5,
    '',
    `ff-${id}-00f067aa0ba902b7-01`,
    `00-${id}-00f067aa0ba902b7-01-more`,
    `00-${id.toUpperCase()}-00f067aa0ba902b7-01`,
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${id}-0000000000000000-01`,
    `00-${id}-00f067aa0ba902b7`,
  ];
  for (const header of bad) t.equal(readTraceparent(header), undefined, String(header));
});

void t.test('records of a context come through records of tasks and hops', async (t) => {
  const span = readTraceparent(SAMPLED)!;
  const first = new TraceRecords();
  first.addHop(-1, 0, 0, 0, 8, 5);
  first.addAll(contextRecords(span));
  const second = new TraceRecords();
  second.addAll(first.encoded);
  second.addAll(first.encoded);
  second.addTask(0, 0, 1, 2);
  t.equal(second.encoded.length, 24 * 4, 'each once');
  t.strictSame(readContextRecords(second.encoded), span);
  t.equal(readContextRecords(second.encoded.subarray(0, 48)), undefined, 'half of it is none');
});

void t.test('a context that is sampled has the request traced; others cost nothing', async (t) => {
  const check = (traceparent: unknown, trace?: boolean) => {
    const context = { traceContext: { traceparent: traceparent as string } };
    const { trace: traced, traceRecords } = checkRequestOptions(trace === undefined ? context : { ...context, trace });
    return [traced, traceRecords.length];
  };
  t.strictSame(check(SAMPLED), [true, 48]);
  t.strictSame(check(SAMPLED, false), [false, 0]);
  t.strictSame(check(UNSAMPLED), [undefined, 0]);
  t.strictSame(check(UNSAMPLED, true), [true, 48]);
  t.strictSame(check('nonsense'), [undefined, 0]);
  t.strictSame(check(7, true), [true, 0]);
  t.throws(() => checkRequestOptions({ traceContext: 7 as never }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('every handler finds the context of its request', async (t) => {
  const { pipeline } = await start(t, contexts);
  const run = async (options: Parameters<typeof pipeline.run>[1]) => (await pipeline.run({}, options)).outputs[0]?.meta;
  t.strictSame(await run({ traceContext: { traceparent: SAMPLED } }), { first: SAMPLED, second: SAMPLED });
  t.strictSame(await run({ traceContext: { traceparent: UNSAMPLED } }), { first: null, second: null });
  t.strictSame(await run({ trace: true }), { first: null, second: null });
  const job = await pipeline.submit({}, { trace: { traceparent: SAMPLED } });
  const { outputs } = await job.result();
  t.strictSame(outputs[0]?.meta, { first: SAMPLED, second: SAMPLED }, 'also of a job');
});
