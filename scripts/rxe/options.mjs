// The runner's own command line.
// Invariant: only words before COMMAND are the runner's; the first word that is not an option starts COMMAND and
// nothing from there on is interpreted.

import os from 'node:os';

import { usageError } from './failure.mjs';

export const HELP = `Usage: node scripts/rxe.mjs [options] [--] COMMAND [ARGS...]

Runs COMMAND in the current directory, inside a guest kernel that has a real soft-RoCE device (rxe0).
The guest sees this machine's files; what it writes is discarded, except below the shared directories.

Options:
  --share DIR         share DIR with the guest, writable, at the same path (repeatable); the parent directory
                      of the value of --output, -o or --report in COMMAND is shared without asking
  --env NAME=VALUE    set a variable for COMMAND (repeatable); PATH, HOME, LANG, TERM, CI, NO_COLOR, FORCE_COLOR,
                      NODE_OPTIONS, ONEPIECE_* and TAP_* are passed on by themselves
  --timeout SECONDS   limit for boot and command together (default 1800)
  --memory MIB        the guest's memory (default 3072)
  --cpus N            the guest's processors (default: those of this machine, at most 2)
  --check             say whether it can run here, without booting
  --prepare           install the packages and build the image, without booting
  --verbose           show the guest's console on stderr
  --help              show this text

The image is kept in $ONEPIECE_RXE_CACHE, or onepiece-rdma/rxe in $XDG_CACHE_HOME or ~/.cache.

Exit code: COMMAND's own (128 + N when signal N ended it); 2 usage; 3 cannot run here; 124 timeout;
125 the guest did not boot or died.
`;

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** What each option does with the parsed result; those with `value` take the next word or what follows '='. */
const OPTIONS = {
  '--share': { value: true, apply: (result, value) => result.shares.push(nonEmpty('--share', value)) },
  '--env': { value: true, apply: (result, value) => result.env.push(assignment(value)) },
  '--timeout': { value: true, apply: set('timeout', 1, 604_800) },
  '--memory': { value: true, apply: set('memory', 512, 1_048_576) },
  '--cpus': { value: true, apply: set('cpus', 1, 64) },
  '--check': { apply: (result) => choose(result, 'check') },
  '--prepare': { apply: (result) => choose(result, 'prepare') },
  '--verbose': { apply: (result) => Object.assign(result, { verbose: true }) },
  '--help': { apply: (result) => Object.assign(result, { action: 'help' }) },
  '-h': { apply: (result) => Object.assign(result, { action: 'help' }) },
};

/** @param {string[]} words */
export function parseOptions(words) {
  const result = {
    action: 'run',
    shares: [],
    env: [],
    timeout: 1800,
    memory: 3072,
    cpus: Math.min(2, os.availableParallelism()),
    verbose: false,
    command: [],
  };
  let index = 0;
  while (index < words.length && words[index].startsWith('-')) {
    const word = words[index];
    index += 1;
    if (word === '--') break;
    const equals = word.indexOf('=');
    const name = equals === -1 ? word : word.slice(0, equals);
    const option = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined;
    if (option === undefined) throw usageError(`unknown option ${name}`);
    if (!option.value && equals !== -1) throw usageError(`${name} takes no value`);
    let value;
    if (option.value && equals !== -1) value = word.slice(equals + 1);
    if (option.value && equals === -1) {
      if (index >= words.length) throw usageError(`${name} needs a value`);
      value = words[index];
      index += 1;
    }
    option.apply(result, value);
  }
  result.command = words.slice(index);
  if (result.action === 'run' && result.command.length === 0) throw usageError('no COMMAND to run');
  if (result.action === 'run' && result.command[0] === '') throw usageError('COMMAND is empty');
  if (['check', 'prepare'].includes(result.action) && result.command.length > 0) {
    throw usageError(`--${result.action} runs no COMMAND`);
  }
  return result;
}

function choose(result, action) {
  if (result.action === 'help') return;
  if (result.action !== 'run' && result.action !== action) throw usageError('--check and --prepare exclude each other');
  result.action = action;
}

function set(field, least, most) {
  return (result, value) => {
    const number = /^[0-9]+$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= least && number <= most)) {
      throw usageError(`--${field} needs a whole number from ${least} to ${most}, not '${value}'`);
    }
    result[field] = number;
  };
}

function nonEmpty(name, value) {
  if (value === '') throw usageError(`${name} needs a value`);
  return value;
}

function assignment(value) {
  const equals = value.indexOf('=');
  const name = equals === -1 ? value : value.slice(0, equals);
  if (equals === -1 || !NAME.test(name)) throw usageError(`--env needs NAME=VALUE, not '${value}'`);
  return [name, value.slice(equals + 1)];
}
