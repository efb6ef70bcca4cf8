// Proves: the figures of a result follow from what was measured, and ratios say how many times better ours is.
import t from 'tap';
import {
  comparePipelines,
  type LoadResult,
  type PipelineSubject,
  pipelineDocument,
  resultOf,
  startResult,
} from '../../../src/ts/bench/pipeline/result.js';
import type { PipelinePlan } from '../../../src/ts/bench/pipeline/settings.js';
import type { Measured } from '../../../src/ts/bench/pipeline/subject.js';

const ours: PipelineSubject = { peer: null, device: 'soft0', mode: 'built', views: false };
const theirs: PipelineSubject = { peer: 'dove', device: 'air', mode: null, views: null };
const plan = (task: PipelinePlan['task']): PipelinePlan => ({ shape: 'chain', sizeBytes: 1000, task });
const underLoad = plan({ do: 'load', inFlight: 4, seconds: 2 });

function measured(change: Partial<Measured> = {}): Measured {
  const samplesUs = Float64Array.from({ length: 1000 }, (_, i) => 1000 - i);
  return { samplesUs, requests: 1000, seconds: 2, cpuUs: 50_000, rssKib: 2048, pssKib: 1024, ...change };
}

void t.test('a load has percentiles, a rate, bytes, processor time and memory', async (t) => {
  t.strictSame(resultOf(ours, underLoad, measured()), {
    test: 'pipeline',
    ...ours,
    shape: 'chain',
    sizeBytes: 1000,
    memoryMiB: { rss: 2, pss: 1 },
    inFlight: 4,
    restMs: null,
    requests: 1000,
    latencyUs: { p50: 500, p99: 990, p999: 999 },
    hops: 4,
    hopUs: { p50: 125, p99: 247.5, p999: 249.75 },
    requestsPerSecond: 500,
    gbPerSecond: 0.001,
    cpuUsPerRequest: 50,
  });
});

void t.test('requests after rests have no rate, and a pipeline without requests no latency', async (t) => {
  const rest = resultOf(ours, plan({ do: 'rest', restMs: 20, seconds: 2 }), measured());
  t.match(rest, { test: 'pipeline-rest', restMs: 20, inFlight: 1, requestsPerSecond: null, gbPerSecond: null });
  const none = { samplesUs: new Float64Array(0), requests: 0 };
  const idle = resultOf(ours, plan({ do: 'idle', seconds: 2 }), measured(none));
  t.match(idle, { test: 'pipeline-idle', idleSeconds: 2, cpuPercent: 2.5 });
  t.notOk('latencyUs' in idle);
});

void t.test('a start is its median with both ends', async (t) => {
  const rounds = [30, 10, 20].map((startMs) => ({ startMs, rssKib: 3072, pssKib: 1024 }));
  t.match(startResult('soft0', 3, rounds), {
    test: 'pipeline-start',
    stages: 3,
    rounds: 3,
    startMs: { min: 10, p50: 20, max: 30 },
    memoryMiB: { rss: 3, pss: 1 },
  });
});

void t.test('ours is compared with each peer of the same case only', async (t) => {
  const slow = measured({ samplesUs: Float64Array.of(1000), requests: 250, cpuUs: 50_000 });
  const other = plan({ do: 'load', inFlight: 1, seconds: 2 });
  const results = [
    resultOf(ours, underLoad, measured()) as LoadResult,
    resultOf(theirs, underLoad, slow) as LoadResult,
    resultOf(theirs, other, slow) as LoadResult,
    resultOf(theirs, plan({ do: 'idle', seconds: 1 }), slow),
  ];
  const same = { test: 'pipeline', shape: 'chain', sizeBytes: 1000, inFlight: 4, mode: 'built', peer: 'dove' };
  const ratios = { latencyRatio: 2, requestsPerSecondRatio: 4, cpuRatio: 4 };
  t.strictSame(comparePipelines(results), [{ ...same, ...ratios }]);
  const document = pipelineDocument({ results, peers: { dove: 'dove 1.0' }, failures: [] });
  t.equal(document.schemaVersion, 1);
  t.equal(document.comparisons.length, 1);
});

void t.test('without processor time there is no ratio of it', async (t) => {
  const results = [
    resultOf(ours, underLoad, measured({ cpuUs: 0 })),
    resultOf(theirs, underLoad, measured({ cpuUs: 10 })),
  ];
  t.equal(comparePipelines(results)[0]!.cpuRatio, null);
});
