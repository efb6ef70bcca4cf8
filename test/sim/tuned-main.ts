// Compares settings that were tuned on some workloads with the shipped defaults on ten others: see the usage.
import { parseArgs } from 'node:util';
import { CLUSTER_DELAYS } from '../../src/ts/planner/fleet/fleet.js';
import { runProgram } from '../program.js';
import { compared, isNoWorse, others, tuned } from './fleet/tuned.js';

const usage = `Usage: node build-test/test/sim/tuned-main.js [options]

  --no-delays     decisions take effect at once
  --json          one JSON document instead of the table
  --help          this text
`;

async function main(): Promise<number> {
  const flag = { type: 'boolean' } as const;
  const { values } = parseArgs({ options: { 'no-delays': flag, json: flag, help: flag } });
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const delays = values['no-delays'] === true ? null : CLUSTER_DELAYS;
  const untried = others(delays);
  const { settings, relative, runs } = tuned(delays);
  const rows = untried.map((each) => compared(each, settings));
  if (values.json === true) {
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, test: 'tuned', settings, relative, runs, rows })}\n`);
  } else {
    process.stdout.write(`${JSON.stringify(settings)}\nwhere tuned: ${relative.toFixed(3)}\n`);
    for (const row of rows) {
      const { name, tuned: mine, defaults, relative: part } = row;
      const words = `${mine.gpusMean.toFixed(2)} / ${defaults.gpusMean.toFixed(2)} GPUs`;
      const times = `in time ${(100 * mine.inTime).toFixed(2)} / ${(100 * defaults.inTime).toFixed(2)} %`;
      process.stdout.write(`${part.toFixed(3)}x  ${words}  ${times}  ${isNoWorse(row) ? '' : 'WORSE  '}${name}\n`);
    }
  }
  return rows.every(isNoWorse) ? 0 : 1;
}

runProgram(main, usage);
