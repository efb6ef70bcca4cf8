// Proves what `onepiece bench python --gpu` refuses, and its arithmetic. Its measurements need a GPU.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { checkGpus, gpuRow } from '../../../src/ts/bench/python/gpu.js';
import type { Gpu } from '../../../src/ts/cluster/gpus.js';

const ROW = { what: 'a way', bytes: 8, than: 'another' };

void t.test('a row has medians, and the speed relative to what it is compared with', async (t) => {
  t.same(gpuRow(ROW, [5, 4, 100], [2, 2, 1]), { ...ROW, p50Us: 5, thanP50Us: 2, relative: 0.4 });
  t.equal(gpuRow(ROW, [2], [3]).relative, 1.5, 'faster');
});

void t.test('what was not measured is no row', async (t) => {
  for (const [us, thanUs] of [
    [[], [1]],
    [[1], []],
    [[0], [1]],
    [[1], [Number.NaN]],
  ] as const) {
    t.throws(() => gpuRow(ROW, us, thanUs), { code: 'RDMA_ERR_INTERNAL' }, JSON.stringify([us, thanUs]));
  }
});

void t.test('no GPU is an error that says why', async (t) => {
  const none = { driver: null, cuda: null, gpus: [], peers: [], problem: null };
  t.throws(() => checkGpus(none), { code: 'RDMA_ERR_NO_DEVICE', message: /no NVIDIA driver is loaded/ });
  t.throws(() => checkGpus({ ...none, driver: '580' }), { message: /driver 580 is loaded, CUDA sees none/ });
  t.throws(() => checkGpus({ ...none, problem: 'cuInit: X (1)' }), { message: /cuInit: X \(1\)/ });
  checkGpus({ ...none, gpus: [{} as Gpu] });
});

void t.test('the command ends with 3 and one line where there is no GPU', async (t) => {
  const main = path.resolve(__dirname, '../../../src/ts/cli/main.js');
  const env = { ...process.env, CUDA_VISIBLE_DEVICES: '-1' };
  const args = [main, 'bench', 'python', '--gpu', '--json', '--python', '/usr/bin/python3'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8', timeout: 60_000 });
  t.equal(status, 3);
  t.equal(stdout, '');
  t.match(stderr, /^onepiece: RDMA_ERR_NO_DEVICE: there is no GPU here: .*$/m);
  t.equal(stderr.trim().split('\n').length, 1);
});
