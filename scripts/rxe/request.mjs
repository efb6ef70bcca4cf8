// What the runner asks of the guest: a shell text that defines the command and ends with guest-init.sh.
// Invariant: every word that comes from outside is in single quotes, so that the guest's shell takes it literally;
// it travels over a virtio port, so neither arguments nor environment show up in this machine's process list.

import { readFileSync } from 'node:fs';

import { usageError } from './failure.mjs';

const PASSED = ['PATH', 'HOME', 'LANG', 'TERM', 'CI', 'NO_COLOR', 'FORCE_COLOR', 'NODE_OPTIONS'];
const PASSED_PREFIXES = ['ONEPIECE_', 'TAP_'];
const VALID_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const DEFAULTS = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  npm_config_update_notifier: 'false',
  npm_config_audit: 'false',
  npm_config_fund: 'false',
};
/** What the guest is on a network of its own. */
const ALONE = { host: 'onepiece-guest', address: '10.99.0.1', neighbours: {} };
/** Enters the working directory and becomes the command; $1 is the directory. */
const ENTER = 'cd -- "$1" && shift && unset OLDPWD && exec "$@"';

/** @param {string} word */
export function quote(word) {
  if (word.includes('\0')) throw usageError('a NUL byte cannot be in an argument or a variable');
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** @param {NodeJS.ProcessEnv} outside @param {[string, string][]} extra @param {string} cwd */
export function guestEnvironment(outside, extra, cwd) {
  const passes = (name) =>
    VALID_NAME.test(name) && (PASSED.includes(name) || PASSED_PREFIXES.some((prefix) => name.startsWith(prefix)));
  const passed = Object.entries(outside).filter(([name]) => passes(name));
  return { ...DEFAULTS, ...Object.fromEntries(passed), ...Object.fromEntries(extra), PWD: cwd };
}

/**
 * @param {{ command: string[], env: Record<string, string>, cwd: string, shares: string[], marker: string,
 *   input?: object, network?: { host: string, address: string, neighbours: Record<string, string> } }} run as runGuest
 * @returns {Buffer}
 */
export function composeRequest(run) {
  const variables = Object.entries(run.env).map(([name, value]) => quote(`${name}=${value}`));
  const words = ['/bin/chroot', '/guest', '/bin/sh', '-c', ENTER, 'sh', run.cwd, ...run.command].map(quote);
  const { host, address, neighbours } = run.network ?? ALONE;
  const others = Object.entries(neighbours).map(([name, where]) => `${where} ${name}`);
  const lines = [
    `card=${run.network ? 'virtio' : 'dummy'}`,
    `rxe_host=${quote(host)}`,
    `rxe_address=${quote(address)}`,
    `neighbours=${quote(others.join('\n'))}`,
    `input=${run.input ? '/dev/vport0p4' : '/dev/null'}`,
    `marker=${quote(run.marker)}`,
    `now=${(Date.now() / 1000).toFixed(0)}`,
    'mount_shares() {',
    ...run.shares.map((directory, index) => `  mount_share share${index} ${quote(directory)}`),
    '  :',
    '}',
    'become_command() {',
    `  exec /bin/env -i ${[...variables, ...words].join(' ')}`,
    '}',
    readFileSync(new URL('guest-init.sh', import.meta.url), 'utf8'),
  ];
  return Buffer.from(lines.join('\n'));
}
