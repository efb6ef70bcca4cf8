// Proves that the description of a tensor on a GPU comes back as it was, and that what a client sends is never taken
// for one.
import t from 'tap';
import { gpuPart, readGpuPart } from '../../../src/ts/cluster/python/gpu-parts.js';
import { type RdmaError, tensor } from '../../../src/ts/pipeline/index.js';

void t.test('a description comes back as it was', async (t) => {
  const [name, part] = gpuPart(3, 'lat\u00e9nt \u{1f600}', 'bf16', [16, 21, 60, 104], '{"arena":1}');
  t.same(readGpuPart('diffuse', name, part), {
    name: 'lat\u00e9nt \u{1f600}',
    dtype: 'bf16',
    shape: [16, 21, 60, 104],
    bytes: 16 * 21 * 60 * 104 * 2,
    words: '{"arena":1}',
  });
  t.not(gpuPart(4, 'x', 'u8', [1], '')[0], name, 'each of a message has a name of its own');
});

void t.test('ordinary parts, and whatever comes with a request, are none', async (t) => {
  const [name, part] = gpuPart(0, 'x', 'u8', [1], '{}');
  t.equal(readGpuPart('request', name, part), undefined);
  t.equal(readGpuPart('diffuse', 'x', tensor('u8', [2], new Uint8Array(2))), undefined);
});

void t.test('what Python cannot have made is refused', async (t) => {
  for (const [dtype, shape, words] of [
    ['f33', [1], ''],
    ['u8', [-1], ''],
    ['u8', 'no shape', ''],
    ['u8', [1], undefined],
  ]) {
    t.throws(() => gpuPart(0, 'x', dtype as string, shape as number[], words as string), { code: 'RDMA_ERR_PROTOCOL' });
  }
  t.throws(() => gpuPart(0, 'x', 'u8', [1], 'x'.repeat(20_000)), {
    code: 'RDMA_ERR_MESSAGE_TOO_LARGE',
  } satisfies Partial<RdmaError>);
});
