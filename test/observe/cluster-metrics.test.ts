// Proves: a gateway to a cluster has the metrics of its requests and of its places, and none of what it does not know;
// a server serves them to operators; they end with it.
import Fastify from 'fastify';
import t from 'tap';
import { memoryControlStore } from '../../src/ts/control/index.js';
import { CLUSTER_METRICS, ClusterMetrics, ClusterObserver, clusterPlugin } from '../../src/ts/observe/index.js';
import { registerMetrics } from '../../src/ts/observe/index.js';
import { RdmaError } from '../../src/ts/pipeline/index.js';
import { parse } from './metrics-text.js';
import { type Scene, ScenePipeline, SPEC, statusOf } from './support.js';

/** A gateway to a cluster in which a scene is played. */
class SceneGateway extends ScenePipeline {
  readonly graph = SPEC;
  control: Error | undefined;
  isClosed = false;
  places: Record<string, { node: string; state: string }> = {
    'decode/0': { node: 'a', state: 'ready' },
    'decode/1': { node: 'a', state: 'ready' },
    'decode/2': { node: 'b', state: 'starting' },
    'assemble/0': { node: 'b', state: 'unknown' },
  };

  constructor(private readonly sceneOf: () => Scene) {
    super(sceneOf);
  }

  figures() {
    if (this.isClosed) throw new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed');
    const { places, control } = this;
    return { gateway: statusOf(this.sceneOf()).gateway!, places, unplaced: ['diffuse/3: no node'], control };
  }

  get measured() {
    return {
      graph: this.graph,
      status: () => this.figures(),
      watchRequests: this.watchRequests.bind(this),
    };
  }
}

const RESULT = { request: 'r', outputs: [], trace: undefined, expectedMs: undefined, release: () => {} };

void t.test('the metrics are of its requests and of its places', async (t) => {
  const pipeline = new SceneGateway(() => ({ inFlight: 3, queue: { requests: 4, rejected: { 'queue-full': 2 } } }));
  const metrics = new ClusterMetrics(pipeline.measured, { maxTenants: 1 });
  await pipeline.run({ tenant: 'red' }, async () => RESULT);
  await pipeline
    .run({ tenant: 'blue' }, () => Promise.reject(new RdmaError('RDMA_ERR_REJECTED', 'no', { stage: 'decode' })))
    .catch(() => {});
  const registry = registerMetrics(metrics, { processMetrics: false });
  const { types, values } = parse(await registry.metrics());
  t.strictSame([...types.keys()].sort(), CLUSTER_METRICS.map(({ name }) => name).sort(), 'these, and no others');
  const value = (name: string) => values.get(`onepiece_${name}`);
  t.equal(value('requests_total{tenant="red",outcome="done"}'), 1);
  t.equal(value('requests_total{tenant="other",outcome="rejected"}'), 1, 'one tenant is named');
  t.equal(value('request_errors_total{outcome="rejected",code="RDMA_ERR_REJECTED",stage="decode"}'), 1);
  t.equal(value('request_seconds_count'), 1);
  t.equal(value('gateway_in_flight'), 3);
  t.equal(value('gateway_queued'), 4);
  t.equal(value('gateway_rejected_total{reason="queue-full"}'), 2);
  t.equal(value('cluster_places{node="a",stage="decode",state="ready"}'), 2);
  t.equal(value('cluster_places{node="b",stage="decode",state="starting"}'), 1);
  t.equal(value('cluster_places{node="b",stage="assemble",state="unknown"}'), 1);
  t.equal(value('cluster_unplaced'), 1);
  t.equal(value('cluster_store_answers'), 1);
  pipeline.control = new Error('away');
  t.equal(parse(await registry.metrics()).values.get('onepiece_cluster_store_answers'), 0);
  metrics.close();
  await pipeline.run({}, async () => RESULT);
  t.equal(parse(await registry.metrics()).values.get('onepiece_request_seconds_count'), 1, 'it counts no more');
  t.throws(() => new ClusterMetrics(pipeline.measured, { maxTenants: 0 }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('a server has the route where metrics are given to it', async (t) => {
  const pipeline = new SceneGateway(() => ({}));
  const store = memoryControlStore();
  const watched = { status: () => ({ places: pipeline.places }) };
  const ask = async (options: Parameters<typeof clusterPlugin>[1]) => {
    const app = Fastify();
    await app.register(clusterPlugin(new ClusterObserver('app', store, watched), options));
    return app;
  };
  const without = await ask({});
  t.equal((await without.inject('/metrics')).statusCode, 404);
  await without.close();
  const app = await ask({ metrics: new ClusterMetrics(pipeline.measured) });
  const answer = await app.inject('/metrics');
  t.equal(answer.statusCode, 200);
  t.match(answer.headers['content-type'], /^text\/plain/);
  const { values } = parse(answer.body.replace(/^(?:# (?:HELP|TYPE) )?(?:process|nodejs)_.*\n/gm, ''));
  t.equal(values.get('onepiece_cluster_unplaced'), 1);
  t.match(answer.body, /^process_cpu_seconds_total /m, "prom-client's own");
  pipeline.isClosed = true;
  const closed = await app.inject('/metrics');
  t.equal(closed.statusCode, 503);
  t.equal(closed.json().code, 'RDMA_ERR_CLOSED');
  await app.close();
  t.notOk(pipeline.isWatched, 'it watches no more');
  await store.close();
});
