// Proves: who watches hears the end of each request once and may ask for its trace; whatever a watcher throws, requests
// go on; a pipeline says how long tasks and hops took.
import t from 'tap';
import type { RequestEnd } from '../../src/ts/cluster/index.js';
import { RequestWatch } from '../../src/ts/cluster/request-watch.js';
import type { PipelineResult, RequestOptions } from '../../src/ts/pipeline/index.js';
import { diamond, diamondRequest } from '../pipeline/workflows.js';
import { idle, start } from './support.js';

const result = {
  request: 'r',
  outputs: [],
  trace: undefined,
  expectedMs: undefined,
  release: () => {},
} as PipelineResult;

void t.test('watchers hear the end, and change nothing but the trace', async (t) => {
  const watch = new RequestWatch();
  t.equal(watch.isWatched, false);
  const ends: RequestEnd[] = [];
  const stop = watch.add(({ tenant }) =>
    tenant === 'a' ? { trace: true, onEnd: (end) => void ends.push(end) } : undefined,
  );
  const asked: RequestOptions[] = [];
  const run = async (options: RequestOptions) => {
    asked.push(options);
    return result;
  };
  t.equal(await watch.run({ tenant: 'a' }, run), result);
  t.equal(await watch.run({ tenant: 'b' }, run), result);
  await watch.run({ tenant: 'a', trace: false }, run);
  t.strictSame(asked, [{ tenant: 'a', trace: true }, { tenant: 'b' }, { tenant: 'a', trace: false }]);
  await t.rejects(
    watch.run({ tenant: 'a' }, () => Promise.reject(new Error('late'))),
    /late/,
  );
  t.match(ends, [{ result }, { result }, { error: /late/ }]);
  t.equal(ends.length, 3);
  stop();
  t.equal(watch.isWatched, false);
});

void t.test('a watcher that throws is a warning, once, and no request notices', async (t) => {
  const watch = new RequestWatch();
  const warnings: Error[] = [];
  const listener = (warning: Error) => void warnings.push(warning);
  process.on('warning', listener);
  t.teardown(() => process.off('warning', listener));
  watch.add(() => {
    throw new Error('careless');
  });
  watch.add(() => ({
    onEnd: () => {
      throw new Error('careless too');
    },
  }));
  for (let i = 0; i < 3; i++) t.equal(await watch.run({}, async () => result), result);
  await new Promise((resolve) => setImmediate(resolve));
  t.match(
    warnings.map(({ message }) => message),
    [/careless/, /careless too/],
  );
  t.equal(warnings.length, 2);
});

void t.test('status() tells how long tasks and hops took', async (t) => {
  const { pipeline } = await start(t, diamond);
  let ends = 0;
  const stop = pipeline.watchRequests(() => ({ onEnd: () => void ends++ }));
  for (let n = 0; n < 20; n++) await pipeline.run(diamondRequest(n).request);
  stop();
  await pipeline.run(diamondRequest(20).request);
  t.equal(ends, 20);
  await idle(pipeline);
  const { stages, gateway } = await pipeline.status();
  const total = stages['total/0']!;
  t.equal(total.computeTimes.count, 21);
  t.equal(total.queueTimes.count, 21);
  t.ok(total.computeTimes.sumUs > 0);
  t.strictSame(Object.keys(total.hops).sort(), ['scale', 'square']);
  t.equal(total.hops.square?.count, 42, 'of both shards');
  t.equal(stages['scale/0']!.computeTimes.count + stages['scale/1']!.computeTimes.count, 21);
  t.equal(gateway?.hops.total?.count, 21);
});
