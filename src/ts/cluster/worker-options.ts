// The options of Node.js that a worker process takes over from its supervisor.
//
// Invariant: options that load modules (`--import`, `--require`, `--conditions`) or limit memory are taken over;
// options that name a program to run, or a debugger port that the supervisor has, are not.

/** Options that are left out; of those with `value: true` the next argument too, unless it is given by `=`. */
const leftOut: readonly { name: RegExp; value: boolean }[] = [
  // A port serves one process. A worker is debugged by NODE_OPTIONS, or by SIGUSR1.
  { name: /^--inspect(-brk|-wait)?$/, value: false },
  { name: /^--(inspect-port|debug-port|inspect-publish-uid)$/, value: true },
  // A program that is no file.
  { name: /^(-e|--eval|-p|--print|-pe|--input-type)$/, value: true },
  { name: /^(-i|--interactive)$/, value: false },
];

/**
 * Chooses the options of Node.js for a worker process. It adds none: with an option of V8 that changes how code is
 * compiled, Node.js cannot use what it has compiled of its own modules beforehand, and starts 15 ms later.
 *
 * @param execArgv the options of this process, as `process.execArgv` has them
 * @returns those that hold for a worker too, in the same order
 */
export function workerExecArgv(execArgv: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < execArgv.length; i++) {
    const argument = execArgv[i]!;
    const name = argument.split('=', 1)[0]!;
    const option = leftOut.find((one) => one.name.test(name));
    if (option === undefined) kept.push(argument);
    else if (option.value && name === argument) i++;
  }
  return kept;
}
