// Proves that each thing about GPUs is found with what causes it, and that a machine without any is as good as another.
import t from 'tap';
import type { Gpu, GpuInventory } from '../../src/ts/cluster/gpus.js';
import { gpuChecks } from '../../src/ts/doctor/gpu-checks.js';
import { NO_GPUS } from './recorded.js';

const card: Gpu = {
  ...{ name: 'H100', memoryBytes: 80 * 2 ** 30, unifiedAddressing: true, hostRegister: true },
  ...{ pinProblem: null, ipcProblem: null },
};
const two: GpuInventory = {
  ...{ driver: '550.54', cuda: '12.4', gpus: [card, card], problem: null },
  peers: [
    [true, true],
    [true, true],
  ],
};
const found = (gpus: GpuInventory | string) =>
  Object.fromEntries(gpuChecks({ gpus }).map(({ id, severity, seen }) => [id, `${severity}: ${seen}`]));

void t.test('without GPUs that is said plainly', async (t) => {
  t.match(found(NO_GPUS), { gpus: /^note: there are no GPUs here: no NVIDIA driver is loaded/ });
  t.match(found({ ...NO_GPUS, driver: '550.54' }), { gpus: /^note: .* 550\.54 is loaded, and CUDA sees none$/ });
  t.match(found('the GPUs cannot be counted'), { gpus: /^note: the GPUs cannot be counted$/ });
});

void t.test('a driver that does not answer is a warning', async (t) => {
  t.match(found({ ...NO_GPUS, problem: 'cuInit: CUDA_ERROR_SYSTEM_NOT_READY (802)' }), { gpus: /^warning: .*802/ });
});

void t.test('two GPUs where all is well, and where not', async (t) => {
  t.match(found(two), {
    gpus: /^ok: 2 for CUDA 12\.4 .*: 0 H100 80\S* GiB, 1 H100/,
    'gpu-peers': /^ok: each of the 2/,
    'gpu-pinning': /^ok/,
    'gpu-ipc': /^ok/,
  });
  const apart = [
    [true, true],
    [false, true],
  ];
  const bad = [card, { ...card, pinProblem: 'cuMemHostRegister_v2: X', ipcProblem: 'cuIpcGetMemHandle: Y' }];
  t.match(found({ ...two, peers: apart, gpus: bad }), {
    'gpu-peers': /^note: 1 of 2 ways .*\(1 to 0\)/,
    'gpu-pinning': /^warning: GPU 1: .*: cuMemHostRegister_v2: X$/,
    'gpu-ipc': /^warning: GPU 1: .*: cuIpcGetMemHandle: Y$/,
  });
  t.match(found({ ...two, gpus: [{ ...card, hostRegister: false, unifiedAddressing: false }] }), {
    'gpu-pinning': /^warning: GPU 0: .*cannot register memory$/,
    'gpu-ipc': /^warning: GPU 0: .*no unified addressing$/,
  });
});
