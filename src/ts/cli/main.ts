#!/usr/bin/env node
// The command `onepiece`: finds the command and ends with its exit code.
//
// Invariant: no logic of its own; results on stdout, everything else on stderr.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../addon/native.js';
import { loadCommands } from './commands.js';
import { errorLine, ExitCode, exitCodeOf, UsageError } from './exit.js';
import { watchStandardStreams } from './standard-streams.js';

function version(): string {
  return JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version;
}

async function main(): Promise<number> {
  let exitCode: number = ExitCode.OK;
  const setExitCode = (code: number) => {
    exitCode = code;
  };
  const program = new Command('onepiece')
    .description('RDMA for Node.js: pipelines over one-sided RDMA, and what is needed to look at them')
    .version(version())
    // So that `-V` after `rping` is rping's.
    .enablePositionalOptions()
    .addHelpText(
      'after',
      '\nExit codes: 0 success, 1 failure, 2 wrong usage, 3 no such device.\nExample: onepiece demo photo.jpg --prompt "slow push in, evening light" --output clip.webp',
    );
  for (const command of await loadCommands(process.argv[2], setExitCode)) program.addCommand(command);
  const commands = (command: Command): Command[] => [command, ...command.commands.flatMap(commands)];
  for (const command of commands(program)) command.exitOverride().showHelpAfterError('(--help shows the options)');
  try {
    await program.parseAsync();
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
    process.stderr.write(`${errorLine(error)}\n`);
    if (error instanceof UsageError) process.stderr.write('(--help shows the options)\n');
    return exitCodeOf(error);
  }
}

watchStandardStreams();
main().then((code) => {
  process.exitCode = code;
});
