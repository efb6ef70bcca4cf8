// Proves: settings that cannot be measured are refused by name, and the others become the measurements that they ask
// for.
import t from 'tap';
import { pipelinePeersNamed } from '../../../bench/peers/pipeline/peers.js';
import { plansOf } from '../../../src/ts/bench/pipeline/run.js';
import {
  checkPipelineSettings,
  limitMs,
  pipelineDefaults,
  restsWithin,
} from '../../../src/ts/bench/pipeline/settings.js';

void t.test('the defaults pass', async (t) => {
  t.strictSame(checkPipelineSettings(pipelineDefaults), pipelineDefaults);
});

const wrong: [string, Record<string, unknown>, RegExp][] = [
  ['a device without a name', { device: '' }, /device/],
  ['no shape', { shapes: [] }, /shape/],
  ['a shape that is none', { shapes: ['ring'] }, /shape/],
  ['no size', { sizes: [] }, /size/],
  ['a size below 64 bytes', { sizes: [63] }, /size/],
  ['a size above 64 MiB', { sizes: [2 ** 26 + 1] }, /size/],
  ['nothing in flight', { inFlight: [0] }, /in-flight/],
  ['65 in flight', { inFlight: [65] }, /in-flight/],
  ['more than 1 GiB under way', { sizes: [2 ** 26], inFlight: [1, 17] }, /in-flight: 17 requests of 67108864/],
  ['a mode that is none', { modes: ['copied'] }, /mode/],
  ['views that are neither', { views: 1 }, /views/],
  ['0 seconds', { seconds: 0 }, /seconds/],
  ['a rest of 0 ms', { restMs: 0 }, /rest-ms/],
  ['idling for 0 seconds', { idleSeconds: 0 }, /idle-seconds/],
  ['0 pieces', { streamPieces: [0] }, /stream/],
  ['1025 pieces', { streamPieces: [1025] }, /stream/],
  ['a diamond that streams', { shapes: ['diamond'], streamPieces: [4] }, /stream: only the shape chain/],
  ['65 stages', { startStages: [65] }, /start/],
];
for (const [what, change, says] of wrong) {
  void t.test(`${what} is refused by name`, async (t) => {
    const settings = { ...pipelineDefaults, ...change };
    t.throws(() => checkPipelineSettings(settings), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: says });
  });
}

void t.test('a load is measured for each shape, size and number in flight', async (t) => {
  const plans = plansOf({ ...pipelineDefaults, shapes: ['chain', 'shard'], sizes: [64, 128], inFlight: [1, 4] });
  t.equal(plans.length, 8);
  t.strictSame(plans[1], { shape: 'chain', sizeBytes: 64, task: { do: 'load', inFlight: 4, seconds: 2 } });
});

void t.test('rests, idling and starts are measured instead of a load', async (t) => {
  const tasks = plansOf({ ...pipelineDefaults, sizes: [64], restMs: 5, idleSeconds: 3 }).map(({ task }) => task);
  t.strictSame(tasks, [
    { do: 'rest', restMs: 5, seconds: 2 },
    { do: 'idle', seconds: 3 },
  ]);
  t.strictSame(plansOf({ ...pipelineDefaults, startStages: [3] }), []);
});

void t.test('a streaming chain is measured for each number of pieces, instead of a load', async (t) => {
  const plans = plansOf({ ...pipelineDefaults, sizes: [4096], streamPieces: [1, 64] });
  t.strictSame(
    plans.map(({ task }) => task),
    [
      { do: 'stream', pieces: 1, seconds: 2 },
      { do: 'stream', pieces: 64, seconds: 2 },
    ],
  );
});

void t.test('as many rests as fit, and ten at least', async (t) => {
  t.equal(restsWithin(2, 10), 200);
  t.equal(restsWithin(1, 1000), 10);
});

void t.test('a run that carries more or rests longer has more time before it counts as stuck', async (t) => {
  const limit = (sizeBytes: number, task: Parameters<typeof limitMs>[0]['task']) =>
    limitMs({ shape: 'chain', sizeBytes, task });
  t.ok(limit(2 ** 26, { do: 'load', inFlight: 16, seconds: 1 }) > 200_000);
  t.ok(limit(64, { do: 'load', inFlight: 1, seconds: 600 }) > 600_000);
  t.ok(limit(64, { do: 'rest', restMs: 60_000, seconds: 1 }) > 600_000);
});

void t.test('peers are found by name, each once', async (t) => {
  const names = (list: string[]) => pipelinePeersNamed(list).map(({ name }) => name);
  t.strictSame(names([]), []);
  t.strictSame(names(['grpc', 'openmpi', 'grpc']), ['openmpi', 'grpc']);
  t.strictSame(names(['all']), ['openmpi', 'mpi4py', 'zeromq', 'grpc']);
  t.throws(() => names(['pigeon']), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /pigeon.*mpi4py/ });
});
