// Proves: the text is what Prometheus reads; names have units, every metric of docs/observe.md is there and no other;
// counters only grow, also when a process is replaced; labels are bounded.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Registry } from 'prom-client';
import { CLUSTER_METRICS, METRICS, Observer, registerMetrics } from '../../src/ts/observe/index.js';
import { histogramBoundsUs, isBucketEnd } from '../../src/ts/observe/metric.js';
import { RdmaError } from '../../src/ts/pipeline/index.js';
import { packageRoot } from '../../src/ts/addon/native.js';
import { parse } from './metrics-text.js';
import { type Scene, ScenePipeline } from './support.js';

async function fail(pipeline: ScenePipeline, tenant: string, error: Error): Promise<void> {
  await pipeline.run({ tenant }, () => Promise.reject(error)).catch(() => {});
}

void t.test('the text parses, and says what the pipeline says', async (t) => {
  const scene: Scene = {
    places: { 'decode/0': { tasks: 3, failures: 1, running: 2, computeUs: [100, 300, 2e6], queueUs: [10, 10, 10] } },
    queue: { requests: 4, bytes: 99, oldestMs: 1500, rejected: { 'queue-full': 2 }, hopeless: 1 },
    silent: ['diffuse/1'],
  };
  const pipeline = new ScenePipeline(() => scene);
  const observer = Observer.attach(pipeline, { maxTenants: 2 });
  t.teardown(() => observer.close());
  const result = { request: 'r', outputs: [], trace: undefined, expectedMs: undefined, release: () => {} };
  await pipeline.run({}, async () => result);
  for (let i = 0; i < 5; i++) {
    await fail(pipeline, `odd "name"\\${i}`, new RdmaError('RDMA_ERR_REJECTED', 'no', { stage: 'decode' }));
  }
  const registry = registerMetrics(observer);
  const asked = pipeline.asked;
  const { types, values } = parse(await registry.metrics());
  t.equal(pipeline.asked, asked + 1, 'one look for one scrape');
  for (const { name, type } of METRICS) t.equal(types.get(name), type, name);
  t.equal(values.get('onepiece_stage_tasks_total{stage="decode"}'), 3);
  t.equal(values.get('onepiece_stage_running{stage="decode"}'), 2);
  t.equal(values.get('onepiece_stage_instances{stage="diffuse",state="hung"}'), 1);
  t.equal(values.get('onepiece_stage_instances{stage="diffuse",state="ready"}'), 3);
  const bucket = (le: string) =>
    values.get(`onepiece_stage_compute_seconds_bucket{le="${le}",stage="decode"}`) ??
    values.get(`onepiece_stage_compute_seconds_bucket{stage="decode",le="${le}"}`);
  t.equal(bucket('0.000064'), 0);
  t.equal(bucket('0.000256'), 1);
  t.equal(bucket('0.001024'), 2);
  t.equal(bucket('+Inf'), 3);
  t.equal(values.get('onepiece_stage_compute_seconds_count{stage="decode"}'), 3);
  t.equal(values.get('onepiece_stage_compute_seconds_sum{stage="decode"}')?.toFixed(4), '2.0004');
  t.equal(values.get('onepiece_gateway_queued'), 4);
  t.equal(values.get('onepiece_gateway_oldest_queued_seconds'), 1.5);
  t.equal(values.get('onepiece_gateway_rejected_total{reason="queue-full"}'), 2);
  t.equal(values.get('onepiece_requests_total{tenant="default",outcome="done"}'), 1);
  t.equal(values.get('onepiece_requests_total{tenant="other",outcome="rejected"}'), 4, 'one is named');
  t.equal(values.get('onepiece_request_errors_total{outcome="rejected",code="RDMA_ERR_REJECTED",stage="decode"}'), 5);
  t.ok(types.has('process_cpu_seconds_total'), "prom-client's own");
  t.equal([...values.keys()].filter((key) => key.startsWith('onepiece_requests_total')).length, 3 * 5);
});

void t.test('names follow the conventions, and bounds are ends of buckets', async (t) => {
  for (const { name, type, help, labels } of [...METRICS, ...CLUSTER_METRICS]) {
    t.match(name, /^onepiece_[a-z]+(_[a-z]+)*$/);
    t.equal(name.endsWith('_total'), type === 'counter', name);
    if (type === 'histogram') t.match(name, /_seconds$/);
    t.match(help, /^[A-Z].*\.$/);
    t.notOk(labels.includes('le'));
  }
  for (const us of histogramBoundsUs()) t.ok(isBucketEnd(us), `${us}`);
});

void t.test('a process that is replaced takes nothing from a counter', async (t) => {
  let scene: Scene = { places: { 'decode/0': { tasks: 100 }, 'decode/1': { tasks: 10 } } };
  const observer = Observer.attach(new ScenePipeline(() => scene));
  t.teardown(() => observer.close());
  const registry = registerMetrics(observer, { registry: new Registry() });
  const tasks = async () => parse(await registry.metrics()).values.get('onepiece_stage_tasks_total{stage="decode"}');
  t.equal(await tasks(), 110);
  scene = { silent: ['decode/0'], places: { 'decode/1': { tasks: 11 } } };
  t.equal(await tasks(), 111, 'one that does not answer');
  scene = { places: { 'decode/0': { tasks: 105 }, 'decode/1': { tasks: 11 } } };
  t.equal(await tasks(), 116, 'and answers again');
  scene = { conditions: { 'decode/0': { state: 'starting' } }, places: { 'decode/1': { tasks: 12 } } };
  t.equal(await tasks(), 117);
  scene = { places: { 'decode/0': { tasks: 5, incarnation: 2 }, 'decode/1': { tasks: 12 } } };
  t.equal(await tasks(), 122);
  t.notMatch(await registry.metrics(), /process_cpu/, 'into a registry of somebody else only what was asked for');
});

void t.test('OpenMetrics has the same, under its names', async (t) => {
  const observer = Observer.attach(new ScenePipeline(() => ({ places: { 'decode/0': { tasks: 9 } } })));
  t.teardown(() => observer.close());
  const registry = new Registry();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  registerMetrics(observer, { registry });
  const text = await registry.metrics();
  t.match(text, /^# TYPE onepiece_stage_tasks counter$/m);
  t.match(text, /^onepiece_stage_tasks_total\{stage="decode"\} 9$/m);
  t.match(text, /^onepiece_stage_compute_seconds_count\{stage="decode"\} 0$/m);
});

void t.test('the table of docs/observe.md is the list of the code', async (t) => {
  const page = readFileSync(join(packageRoot(), 'docs/observe.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(onepiece_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$/gm)];
  t.strictSame(
    rows.map(([, name, type, labels, help]) => ({ name, type, labels, help })),
    [...METRICS, ...CLUSTER_METRICS.filter(({ name }) => name.startsWith('onepiece_cluster_'))].map(
      ({ name, type, labels, help }) => ({
        name,
        type,
        labels: labels.map((label) => `\`${label}\``).join(', ') || '–',
        help,
      }),
    ),
  );
});
