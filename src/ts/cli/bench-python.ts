// `onepiece bench python`: how fast stages in Python get tasks and tensors.
//
// Invariant: see bench-run.ts.
import { Command } from 'commander';
import { type GpuBench, gpuBench } from '../bench/python/gpu.js';
import { type PythonBench, pythonBench } from '../bench/python/run.js';
import { checkPythonBench, type PythonBenchSettings } from '../bench/python/settings.js';
import { peersFor } from './bench-compare.js';
import { runBench, usable } from './bench-run.js';
import { integer, sizes } from './options.js';
import { table } from './table.js';

/** From GPU to GPU. */
const GPU_BYTES = 2 ** 30;

interface PythonFlags {
  python: string;
  size: number[];
  iters: number;
  handOvers: number;
  gpu?: true;
  json?: true;
}

export function pythonCommand(setExitCode: (code: number) => void): Command {
  return new Command('python')
    .description(
      'a task to a stage in Python and back, and a tensor from one to the next, beside what Python programs use',
    )
    .option('--python <program>', 'the program that runs Python, with NumPy', 'python3')
    .option('--size <bytes>', 'the tensor, such as 64m', sizes(2 ** 29), [64 * 2 ** 20])
    .option('--iters <count>', 'round trips of a task', integer(1, 1_000_000), 5000)
    .option('--hand-overs <count>', 'tensors', integer(1, 10_000), 20)
    .option('--gpu', 'instead: to the GPU, and from GPU to GPU, beside copies within one process; needs PyTorch')
    .option('--json', 'print one JSON document instead of the table')
    .action(async (flags: PythonFlags) => setExitCode(await runPython(flags)));
}

function runPython({ python, size, iters, handOvers, gpu, json }: PythonFlags): Promise<number> {
  const wanted: Partial<PythonBenchSettings> = {
    interpreter: python,
    roundTrips: iters,
    handOvers,
    handOverBytes: size[0] ?? Number.NaN,
  };
  const settings = usable(() => checkPythonBench(wanted));
  if (gpu) return runGpu(settings, json);
  return runBench(json === undefined ? {} : { json }, async ({ onStep, onNote, signal }) => {
    const peers = peersFor('what Python programs use', true)?.python ?? [];
    const document = await pythonBench(settings, peers, onStep, signal);
    for (const { what, reason } of document.missing) onNote(`without ${what}: ${reason}`);
    for (const { what, reason } of document.failures) onNote(`${what}: ${reason}`);
    return { document, text: () => text(document) };
  });
}

function runGpu(
  { interpreter, handOverBytes, handOvers }: PythonBenchSettings,
  json: true | undefined,
): Promise<number> {
  const settings = { interpreter, laneBytes: handOverBytes, betweenBytes: GPU_BYTES, rounds: handOvers };
  return runBench(json === undefined ? {} : { json }, async ({ onStep, signal }) => {
    const document = await gpuBench(settings, onStep, signal);
    return { document, text: () => gpuText(document) };
  });
}

function gpuText({ rows, python, gpus }: GpuBench): string {
  const lines = rows.map(({ what, bytes, p50Us, than, thanP50Us, relative }) => [
    what,
    String(bytes),
    p50Us.toFixed(0),
    than,
    thanP50Us.toFixed(0),
    relative.toFixed(2),
  ]);
  const heads = ['WHAT', '>BYTES', '>p50 us', 'BESIDE', '>p50 us', '>RELATIVE'];
  return `${python}, ${gpus.join(', ')}\n${table(heads, lines)}\n`;
}

function text({ rows, python }: PythonBench): string {
  const us = (value: number) => value.toFixed(value < 100 ? 1 : 0);
  const lines = rows.map(({ what, bytes, latencyUs, copiedBytes }) => [
    what,
    String(bytes),
    us(latencyUs.p50),
    us(latencyUs.p99),
    copiedBytes === null ? '-' : String(copiedBytes),
  ]);
  return `${python}\n${table(['WHAT', '>BYTES', '>p50 us', '>p99 us', '>COPIED'], lines)}\n`;
}
