// `onepiece bench`: measurements.
//
// Invariant: every figure printed was measured in this run; nothing is remembered or estimated.
import { Command } from 'commander';
import { ringTests } from '../bench/ring/settings.js';
import { verbsTests } from '../bench/verbs/settings.js';
import { clusterCommand } from './bench-cluster.js';
import { deadlockCommand } from './bench-deadlock.js';
import { deviceBenchCommand } from './bench-device.js';
import { overloadCommand } from './bench-overload.js';
import { pipelineCommand } from './bench-pipeline.js';
import { pythonCommand } from './bench-python.js';
import { ringCommand, ringsCommand } from './bench-ring.js';
import { verbsCommand } from './bench-verbs.js';

export function benchCommand(setExitCode: (code: number) => void): Command {
  const bench = new Command('bench').description('measure on this machine');
  bench.addCommand(clusterCommand(setExitCode));
  bench.addCommand(deadlockCommand(setExitCode));
  bench.addCommand(deviceBenchCommand(setExitCode));
  bench.addCommand(overloadCommand(setExitCode));
  bench.addCommand(pipelineCommand(setExitCode));
  bench.addCommand(pythonCommand(setExitCode));
  for (const test of ringTests) bench.addCommand(ringCommand(test, setExitCode));
  bench.addCommand(ringsCommand(setExitCode));
  for (const test of verbsTests) bench.addCommand(verbsCommand(test, setExitCode));
  return bench;
}
