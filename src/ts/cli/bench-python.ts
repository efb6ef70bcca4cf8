// `onepiece bench python`: how fast stages in Python get tasks and tensors.
//
// Invariant: see bench-run.ts.
import { Command } from 'commander';
import { type PythonBench, pythonBench } from '../bench/python/run.js';
import { checkPythonBench, type PythonBenchSettings } from '../bench/python/settings.js';
import { peersFor } from './bench-compare.js';
import { runBench, usable } from './bench-run.js';
import { integer, sizes } from './options.js';
import { table } from './table.js';

interface PythonFlags {
  python: string;
  size: number[];
  iters: number;
  handOvers: number;
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
    .option('--json', 'print one JSON document instead of the table')
    .action(async (flags: PythonFlags) => setExitCode(await runPython(flags)));
}

function runPython({ python, size, iters, handOvers, json }: PythonFlags): Promise<number> {
  const wanted: Partial<PythonBenchSettings> = {
    interpreter: python,
    roundTrips: iters,
    handOvers,
    handOverBytes: size[0] ?? Number.NaN,
  };
  const settings = usable(() => checkPythonBench(wanted));
  return runBench(json === undefined ? {} : { json }, async ({ onStep, onNote, signal }) => {
    const peers = peersFor('what Python programs use', true)?.python ?? [];
    const document = await pythonBench(settings, peers, onStep, signal);
    for (const { what, reason } of document.missing) onNote(`without ${what}: ${reason}`);
    for (const { what, reason } of document.failures) onNote(`${what}: ${reason}`);
    return { document, text: () => text(document) };
  });
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
