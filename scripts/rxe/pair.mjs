// Two guests, one kernel each, with rxe0 on network cards that a cable joins.
// Invariant: whatever way `work` ends, both emulators are gone when the promise settles; what failed in a guest comes
// with what its programs printed last.

import { Failure } from './failure.mjs';
import { PairGuest } from './pair-guest.mjs';
import { Wire } from './wire.mjs';

const BOOT_LIMIT_S = 180;
const REPORTED_LINES = 12;

export const ADDRESSES = Object.freeze({ a: '10.99.0.1', b: '10.99.0.2' });
const NAMES = Object.keys(ADDRESSES);
const hostOf = (name) => `onepiece-${name}`;

/**
 * Boots both, works with them and ends them.
 * @param {{ image: object, memory: number, cpus: number, timeout: number, stop: AbortSignal,
 *   say: (text: string) => void }} options
 * @param {(pair: { a: PairGuest, b: PairGuest, wire: Wire }) => Promise<void>} work
 */
export async function withPair(options, work) {
  const { say, timeout } = options;
  const wire = new Wire();
  const limit = new AbortController();
  const timer = setTimeout(() => {
    limit.abort(new Failure(124, `timed out after ${timeout} s; give more time with --timeout SECONDS`));
  }, timeout * 1000);
  const stop = AbortSignal.any([options.stop, limit.signal]);
  const [a, b] = NAMES.map((name, end) => {
    const others = NAMES.filter((each) => each !== name);
    const network = {
      host: hostOf(name),
      address: ADDRESSES[name],
      mac: `52:54:00:99:00:0${end + 1}`,
      neighbours: Object.fromEntries(others.map((each) => [hostOf(each), ADDRESSES[each]])),
      plug: (socket) => wire.plug(end, socket),
    };
    return new PairGuest({ name, say, stop, machine: { ...options, network } });
  });
  try {
    await Promise.all([a.up(BOOT_LIMIT_S), b.up(BOOT_LIMIT_S)]);
    await work({ a, b, wire });
  } catch (error) {
    stop.throwIfAborted();
    const said = [...a.report(REPORTED_LINES), ...b.report(REPORTED_LINES)].join('\n');
    throw new Failure(error.exitCode ?? 1, `${error instanceof Failure ? error.message : error.stack}\n${said}`);
  } finally {
    clearTimeout(timer);
    await Promise.all([a.cutPower(), b.cutPower()]);
  }
}
