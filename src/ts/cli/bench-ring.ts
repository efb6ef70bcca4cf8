// `onepiece bench ring-lat`.
//
// Invariant: what is printed was measured in this run; nothing is remembered or estimated.
import { Command } from 'commander';
import { type BenchResult, report } from '../bench/report.js';
import { ringLat } from '../bench/ring-lat.js';
import { interruptible } from './exit.js';
import { integer, sizes } from './options.js';
import { Progress } from './progress.js';
import { bytes, table } from './table.js';

interface RingLatFlags {
  size: number[];
  iterations?: number;
  device: string;
  json?: true;
}

const SOFT_ITERATIONS = 100_000;
const LARGE_ITERATIONS = 2_000;
const LARGE_BYTES = 256 * 1024;

export function ringLatCommand(setExitCode: (code: number) => void): Command {
  return new Command('ring-lat')
    .description('latency of a message between the JavaScript of two processes, one way, by busy ping-pong')
    .option('--size <bytes>', 'message sizes, such as 64,4k,1m; at most 256m', sizes(256 * 2 ** 20), [64])
    .option(
      '--iterations <count>',
      'samples; default 100000, 2000 from 256 KiB up or off soft0',
      integer(1, 10_000_000),
    )
    .option('--device <name>', 'the RDMA device', 'soft0')
    .option('--json', 'print one JSON document instead of the table')
    .action(async (flags: RingLatFlags) => setExitCode(await runRingLat(flags)));
}

function runRingLat(flags: RingLatFlags): Promise<number> {
  return interruptible(async (signal) => {
    const progress = new Progress();
    const results: BenchResult[] = [];
    try {
      for (const sizeBytes of flags.size) {
        progress.update(`ring-lat ${bytes(sizeBytes)}`);
        const many = flags.device === 'soft0' && sizeBytes < LARGE_BYTES;
        const iterations = flags.iterations ?? (many ? SOFT_ITERATIONS : LARGE_ITERATIONS);
        results.push(await ringLat({ device: flags.device, sizeBytes, iterations, signal }));
      }
    } finally {
      progress.clear();
    }
    process.stdout.write(flags.json ? `${JSON.stringify(report(results), null, 2)}\n` : text(results));
  });
}

function text(results: readonly BenchResult[]): string {
  const us = (value: number | null) => (value === null ? '-' : value.toFixed(value < 100 ? 2 : 0));
  const rows = results.map((r) => [
    r.test,
    r.device,
    bytes(r.sizeBytes),
    String(r.iterations),
    us(r.latencyUs.p50),
    us(r.latencyUs.p99),
    us(r.latencyUs.p999),
  ]);
  return `${table(['TEST', 'DEVICE', '>SIZE', '>SAMPLES', '>p50 us', '>p99 us', '>p99.9 us'], rows)}\n`;
}
