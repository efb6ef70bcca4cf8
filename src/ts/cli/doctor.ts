// `onepiece doctor`: finds what prevents RDMA on this machine, and says how to fix it.
//
// Invariant: exit code 0 when a verbs device can be used, 3 when only soft0 can, 1 when nothing can.
import { Command } from 'commander';
import { machine } from '../bench/kit/machine.js';
import { diagnose, type Diagnosis, type Verdict } from '../doctor/diagnosis.js';
import { observe } from '../doctor/observation.js';
import { thisSystem } from '../doctor/system.js';
import { ExitCode } from './exit.js';

const exitCodes: Record<Verdict, number> = {
  verbs: ExitCode.OK,
  soft: ExitCode.NO_DEVICE,
  none: ExitCode.FAILURE,
};

export function doctorCommand(setExitCode: (code: number) => void): Command {
  return new Command('doctor')
    .description('find what prevents RDMA here, and say how to fix it')
    .option('--json', 'print one JSON document instead of lines')
    .addHelpText('after', '\nExit codes: 0 a verbs device can be used, 3 only soft0 can, 1 nothing can, 2 wrong usage.')
    .action(async (options: { json?: true }) => {
      const diagnosis = diagnose(thisSystem(), await observe());
      const text = options.json
        ? JSON.stringify({ schemaVersion: 1, machine: machine(), ...diagnosis }, null, 2)
        : lines(diagnosis);
      process.stdout.write(`${text}\n`);
      setExitCode(exitCodes[diagnosis.verdict]);
    });
}

function lines({ findings, verdict, usable }: Diagnosis): string {
  const found = findings.flatMap(({ id, severity, seen, remedy }) => [
    `${severity.padEnd(7)}  ${id.padEnd(13)}  ${seen}`,
    ...(remedy === null ? [] : [`${' '.repeat(26)}${remedy}`]),
  ]);
  const words: Record<Verdict, string> = {
    verbs: `Ready: ${usable.join(', ')} can be used.`,
    soft: `No verbs device can be used; ${usable.join(', ')} can, between processes of this host.`,
    none: 'No device can be used.',
  };
  return [...found, '', words[verdict]].join('\n');
}
