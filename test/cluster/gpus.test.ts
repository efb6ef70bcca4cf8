// Proves that the numbers of GPUs become CUDA's names for them, and that what is found here is what there is.
import { existsSync } from 'node:fs';
import t from 'tap';
import { readGpus, visibleDevices } from '../../src/ts/cluster/gpus.js';

const PYTHON = '/usr/bin/python3';

void t.test('numbers are those of the GPUs that this process sees', async (t) => {
  const cases: [numbers: number[], own: string | undefined, value: string][] = [
    [[0, 3], undefined, '0,3'],
    [[], undefined, ''],
    [[], '0,1', ''],
    [[1], '2,5', '5'],
    [[1, 0], 'GPU-abc, GPU-def', 'GPU-def,GPU-abc'],
  ];
  for (const [numbers, own, value] of cases) t.equal(visibleDevices(numbers, own), value, `${numbers} of ${own}`);
});

void t.test('a GPU that this process does not see is given to nobody', async (t) => {
  for (const own of ['', '3', '3,-1,4', '-1']) {
    t.throws(
      () => visibleDevices([1], own),
      { code: 'RDMA_ERR_NO_DEVICE', message: /GPU 1 is not there: .* names [01] \(/ },
      own,
    );
  }
});

void t.test('the driver is asked; where there is none, there are no GPUs and no problem', async (t) => {
  const report = await readGpus(PYTHON, true);
  if (existsSync('/dev/nvidiactl')) t.ok(report.cuda !== null || report.problem !== null);
  else t.match(report, { cuda: null, gpus: [], peers: [], problem: null });
});

void t.test('without Python it cannot be said', async (t) => {
  await t.rejects(readGpus('no-such-python'), { code: 'RDMA_ERR_NOT_SUPPORTED', message: /no-such-python/ });
  await t.rejects(readGpus('/bin/false'), { code: 'RDMA_ERR_NOT_SUPPORTED', message: /cannot be counted/ });
});
