// `onepiece bench deadlock`: how a shared ring with a lock, one with a time-out, and lanes bear the same faults.
//
// Invariant: what the table shows follows from `--trials` and `--seed` alone; times are virtual.
import { Command } from 'commander';
import type { DeadlockResult } from '../bench/deadlock.js';
import { machine } from '../bench/kit/machine.js';
import { peersFor } from './bench-compare.js';
import { interruptible } from './exit.js';
import { integer } from './options.js';
import { Progress } from './progress.js';
import { table } from './table.js';

interface DeadlockFlags {
  trials: number;
  seed: number;
  json?: true;
}

export function deadlockCommand(setExitCode: (code: number) => void): Command {
  return new Command('deadlock')
    .description('a lock, a lock with a time-out, and lanes under the same faults of a simulated device')
    .option('--trials <count>', 'trials of each protocol', integer(1, 1_000_000), 10_000)
    .option('--seed <number>', 'the seed of the first trial', integer(0, 2 ** 52), 1)
    .option('--json', 'print one JSON document instead of the table')
    .addHelpText(
      'after',
      '\n10000 trials take about two minutes. Times are virtual: docs/bench.md says what is simulated. Only in a checkout.',
    )
    .action(async (flags: DeadlockFlags) => setExitCode(await runDeadlock(flags)));
}

function runDeadlock({ trials, seed, json }: DeadlockFlags): Promise<number> {
  const { protocols, play } = peersFor('bench deadlock', false).deadlock;
  return interruptible(async (signal) => {
    const progress = new Progress();
    const results: DeadlockResult[] = [];
    try {
      for (const protocol of protocols) {
        const onProgress = (done: number) => progress.update(`deadlock ${protocol}: ${done} of ${trials} trials`);
        onProgress(0);
        results.push(await play({ protocol, trials, seed, signal, onProgress }));
      }
    } finally {
      progress.clear();
    }
    const document = { schemaVersion: 1, machine: machine(), results };
    process.stdout.write(json ? `${JSON.stringify(document, null, 2)}\n` : text(results));
  });
}

function text(results: readonly DeadlockResult[]): string {
  const ms = (value: number | null) => (value === null ? 'never' : value.toFixed(value < 10 ? 2 : 0));
  const rows = results.map((result) => [
    result.protocol,
    String(result.trials),
    String(result.deadlocks),
    String(result.lost),
    String(result.torn),
    String(result.duplicated),
    ms(result.recoveryMs.p50),
    ms(result.recoveryMs.p99),
  ]);
  const header = ['PROTOCOL', '>TRIALS', '>DEADLOCKS', '>LOST', '>TORN', '>DUPLICATED', '>RECOVERY p50 ms', '>p99 ms'];
  return `${table(header, rows)}\n`;
}
